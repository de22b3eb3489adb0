; The firmware of our Bochs machines: from reset straight into an image, without a BIOS.
;
; Purpose   Does what a firmware and a multiboot 1 loader leave: MSRs set as asked for, the image in RAM, the processor
;           at its entry. Takes some 30 instructions and the copying: a machine is there at once.
; Manual    APM vol. 2, 14.1.3 "Processor initialization state"; 4.6.1 "Global descriptor table" for flat segments.
;           Multiboot Specification 0.6.96, 3.2 "Machine state" for what is handed over.
; Memory    A ROM whose last 64 KiB are this, ending at 4 GiB. What is to be copied lies below it in the same ROM, its
;           list (see `orders`) at FFFF8000h; rom.py puts both there. RAM is not used, so there is no stack.
; Contract  Entered by a reset. A second reset stops here: it must not start the image again behind our back. But where
;           the shutdown status in CMOS says so (0Ah, as of the PC/AT's BIOS) it jumps to where 40h:67h points.
; Leaves    to the image in 32-bit protected mode, flat segments, paging off, caches on, interrupts off, A20 open, EAX
;           and EBX as asked for, the other registers 0.

CMOS_INDEX      equ 70h
CMOS_DATA       equ 71h
CMOS_STARTED    equ 7Fh                 ; a byte that no clock and no BIOS uses; it is 0 at power-on
STARTED         equ 5Ah
CMOS_SHUTDOWN   equ 0Fh
JUMP            equ 0Ah
BIOS_DATA       equ 40h
JUMP_TO         equ 67h
SYSTEM_CONTROL  equ 92h
A20_OPEN        equ 1 << 1
FAST_RESET      equ 1 << 0
CR0_PE_ET       equ 11h                 ; protected, and neither CD nor NW, which a reset sets

TOP             equ 0FFFF0000h          ; where this is: the last 64 KiB below 4 GiB
ORDERS          equ 8000h               ; where rom.py puts them in it
RESET_VECTOR    equ 0FFF0h

RAM_BLOCK       equ 20000h              ; Bochs gives memory out in such blocks, or larger ones

; What to do: little-endian doublewords.
struc orders
.entry          resd 1
.eax            resd 1
.ebx            resd 1
.touch          resd 1                  ; memory to touch in the order of addresses: from, up to; see ram_image.py
.touch_end      resd 1
.msrs           resd 1                  ; how many MSRs to write, then how many pieces to copy
.pieces         resd 1
.list           resd 1                  ; first the MSRs: number, low, high; then the pieces: from, to, doublewords
endstruc

org 0

bits 16
start:
        cli
        mov     al, CMOS_STARTED
        out     CMOS_INDEX, al
        in      al, CMOS_DATA
        cmp     al, STARTED
        je      again
        mov     al, CMOS_STARTED
        out     CMOS_INDEX, al
        mov     al, STARTED
        out     CMOS_DATA, al

        in      al, SYSTEM_CONTROL
        or      al, A20_OPEN
        and     al, ~FAST_RESET & 0FFh
        out     SYSTEM_CONTROL, al

        o32 lgdt [cs:gdt_pointer]
        mov     eax, CR0_PE_ET
        mov     cr0, eax
        jmp     dword gdt.code - gdt:TOP + protected

again:
        mov     al, CMOS_SHUTDOWN
        out     CMOS_INDEX, al
        in      al, CMOS_DATA
        cmp     al, JUMP
        je      resume
stop:
        hlt
        jmp     stop

resume:
        mov     al, CMOS_SHUTDOWN
        out     CMOS_INDEX, al
        xor     al, al                  ; once
        out     CMOS_DATA, al
        mov     ax, BIOS_DATA
        mov     ds, ax
        jmp     far [JUMP_TO]

bits 32
; IN        flat CS, the rest as at reset
protected:
        mov     eax, gdt.data - gdt
        mov     ds, eax
        mov     es, eax
        mov     fs, eax
        mov     gs, eax
        mov     ss, eax
        cld
        mov     ebp, TOP + ORDERS
        lea     ebx, [ebp + orders.list]

        mov     edi, [ebp + orders.msrs]
.msr:
        dec     edi
        js      .copy
        mov     ecx, [ebx]
        mov     eax, [ebx + 4]
        mov     edx, [ebx + 8]
        wrmsr                           ; one that the processor refuses is a triple fault, here
        add     ebx, 12
        jmp     .msr

.copy:
        mov     esi, [ebp + orders.touch]
.touch:
        cmp     esi, [ebp + orders.touch_end]
        jae     .pieces
        mov     al, [esi]
        add     esi, RAM_BLOCK
        jmp     .touch

.pieces:
        mov     edx, [ebp + orders.pieces]
.piece:
        dec     edx
        js      .enter
        mov     esi, [ebx]
        mov     edi, [ebx + 4]
        mov     ecx, [ebx + 8]
        rep movsd
        add     ebx, 12
        jmp     .piece

.enter:
        mov     eax, [ebp + orders.eax]
        mov     ebx, [ebp + orders.ebx]
        xor     ecx, ecx
        xor     edx, edx
        xor     esi, esi
        xor     edi, edi
        xor     esp, esp
        xor     ebp, ebp
        jmp     [dword TOP + ORDERS + orders.entry]

; Where the processor's CPUID is asked for: the debugger starts here, with EAX and ECX set, and stops one step later.
align 16
ask:    cpuid
        jmp     $

align 8
gdt:
        dq 0
.code:  dq 00CF9B000000FFFFh            ; 4 GiB from 0, execute and read, accessed
.data:  dq 00CF93000000FFFFh            ; 4 GiB from 0, read and write, accessed
.end:
gdt_pointer:
        dw gdt.end - gdt - 1
        dd TOP + gdt

        times RESET_VECTOR - 8 - ($ - $$) db 0
        dq ask                          ; rom.py reads here where that is
bits 16
        jmp     0F000h:start
        times 10000h - ($ - $$) db 0
