; hello: says so, by the serial port and by hypercall, from 16-bit real mode.
;
; Witness   HELLO = 16, the width of its mode.
; Ends      status 0

%include "guest.inc"
%include "witness.inc"

MODE_WIDTH              equ 16

        mov     si, serial_text
        call    print_serial
        mov     ebx, call_text
        mov     ecx, call_text_length
        hypercall CALL_PRINT
        witness16 'HELL', 'O', MODE_WIDTH, 0
        finish  STATUS_GOOD

; IN        SI = text, ends with 0
; OUT       sent to COM1, each character when the device is ready
; CLOBBERS  AX DX SI
print_serial:
        cld
.next:  mov     dx, COM1_STATUS
.wait:  in      al, dx
        test    al, COM1_READY
        jz      .wait
        lodsb
        test    al, al
        jz      .done
        mov     dx, COM1
        out     dx, al
        jmp     .next
.done:  ret

serial_text:            db "hello from real mode, by COM1", 13, 10, 0
call_text:              db "hello from real mode, by hypercall"
call_text_length        equ $ - call_text
