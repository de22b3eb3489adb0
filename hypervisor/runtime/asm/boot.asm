; Boot: from a 32-bit loader to Rust in long mode.
;
; Purpose   Entry for three loaders (multiboot 1 with address fields, multiboot 2, PVH), identity map, long mode.
; Manual    APM vol. 2, 14.6 "Enabling and activating long mode"; 5.3 "Long-mode page translation".
; Memory    The image at 1 MiB, linear = physical. The boot tables map the first 4 GiB with 2-MiB pages, readable,
;           writable and executable; for CPL 3 too when the image was linked with boot_user_pages = 1 (the probe).
; Contract  32-bit protected mode, flat segments, paging off, EAX = the loader's magic (multiboot) or anything (PVH),
;           EBX = physical address of the loader's information.
; Leaves    to rust_start(magic, information) in 64-bit mode on boot_stack, interrupts off, SSE usable.

%include "processor.inc"

MULTIBOOT1_MAGIC        equ 1BADB002h
MULTIBOOT1_ALIGN        equ 1 << 0
MULTIBOOT1_MEMORY       equ 1 << 1
MULTIBOOT1_ADDRESSES    equ 1 << 16     ; load by the address fields: the only way for an ELF64
MULTIBOOT1_FLAGS        equ MULTIBOOT1_ALIGN | MULTIBOOT1_MEMORY | MULTIBOOT1_ADDRESSES
MULTIBOOT2_MAGIC        equ 0E85250D6h
MULTIBOOT2_I386         equ 0
MULTIBOOT2_TAG_END      equ 0
PVH_NOTE_PHYS32_ENTRY   equ 18          ; XEN_ELFNOTE_PHYS32_ENTRY

BOOT_STACK_SIZE         equ 64 * 1024
MAPPED_GIB              equ 4
EXIT_NO_LONG_MODE       equ 41h         ; docs/protocol.md: the outcome `panic`

extern rust_start, image_start, image_data_end
extern boot_user_pages                  ; absolute symbol, 0 or 1, set by the link line
; Absolute symbols of the linker script: to where the loader shall clear memory (0: nowhere), and what is cleared here.
extern image_bss_end, image_clear_start, image_clear_dwords
global boot_entry

section .boot.headers progbits alloc noexec nowrite align=8
multiboot1:
        dd MULTIBOOT1_MAGIC, MULTIBOOT1_FLAGS, -(MULTIBOOT1_MAGIC + MULTIBOOT1_FLAGS)
        dd multiboot1, image_start, image_data_end, image_bss_end, boot_entry
align 8, db 0
multiboot2:
        dd MULTIBOOT2_MAGIC, MULTIBOOT2_I386, .end - multiboot2
        dd -(MULTIBOOT2_MAGIC + MULTIBOOT2_I386 + (.end - multiboot2))
        dw MULTIBOOT2_TAG_END, 0
        dd 8                            ; size of the end tag
.end:

section .note.pvh note alloc noexec nowrite align=4
        dd 4, 4, PVH_NOTE_PHYS32_ENTRY  ; size of the name, size of the value, type
        db "Xen", 0
        dd boot_entry

section .bss nobits alloc write align=4096
boot_pml4:      resb PAGE_SIZE
boot_pdpt:      resb PAGE_SIZE
boot_pd:        resb PAGE_SIZE * MAPPED_GIB
boot_stack:     resb BOOT_STACK_SIZE
boot_stack_top:

section .rodata progbits alloc noexec nowrite align=8
; Only for the way to 64-bit mode; descriptors.rs loads the real table.
boot_gdt:       dq 0
                dq DESCRIPTOR_CODE64
                dq DESCRIPTOR_DATA
boot_gdt_end:
boot_gdtr:      dw boot_gdt_end - boot_gdt - 1
                dd boot_gdt
no_long_mode:   db "[svmconf] this processor has no long mode", 10
no_long_mode_length equ $ - no_long_mode

section .text.boot progbits alloc exec nowrite align=16
bits 32
; IN        the contract above
; OUT       does not return
boot_entry:
        cli
        cld
        mov     ebp, eax                ; the magic
        xor     eax, eax
        mov     edi, image_clear_start
        mov     ecx, image_clear_dwords
        rep stosd
        mov     edi, ebx                ; the information; both survive until rust_start
        mov     esp, boot_stack_top

        call    extended_features       ; EDX = Fn8000_0001_EDX, 0 if there is none
        test    edx, CPUID_LONG_MODE
        jz      give_up
        mov     esi, edx

        call    build_identity_map
        mov     eax, boot_pml4
        mov     cr3, eax
        mov     eax, cr4
        or      eax, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT
        mov     cr4, eax

        mov     ecx, MSR_EFER
        rdmsr
        or      eax, EFER_LME
        test    esi, CPUID_NX
        jz      .no_nx
        or      eax, EFER_NXE
.no_nx: wrmsr

        mov     eax, cr0
        and     eax, ~(CR0_EM | CR0_TS)
        or      eax, CR0_PG | CR0_WP | CR0_NE | CR0_MP
        mov     cr0, eax
        lgdt    [boot_gdtr]
        jmp     boot_gdt.code64:enter64
boot_gdt.code64 equ 8
boot_gdt.data   equ 16

; IN        nothing
; OUT       EDX = Fn8000_0001_EDX, or 0 when that leaf does not exist
; CLOBBERS  EAX EBX ECX
extended_features:
        mov     eax, CPUID_MAX_EXTENDED
        cpuid
        xor     edx, edx
        cmp     eax, CPUID_EXTENDED_FEATURES
        jb      .done
        mov     eax, CPUID_EXTENDED_FEATURES
        cpuid
.done:  ret

; IN        nothing
; OUT       boot_pml4 maps 0..4 GiB to itself
; CLOBBERS  EAX EBX ECX
build_identity_map:
        mov     ebx, boot_user_pages
        shl     ebx, PTE_USER_BIT
        or      ebx, PTE_PRESENT | PTE_WRITABLE
        lea     eax, [ebx + boot_pdpt]
        mov     [boot_pml4], eax
        lea     eax, [ebx + boot_pd]
        xor     ecx, ecx
.pdpt:  mov     [boot_pdpt + ecx * 8], eax
        add     eax, PAGE_SIZE
        inc     ecx
        cmp     ecx, MAPPED_GIB
        jb      .pdpt
        lea     eax, [ebx + PTE_LARGE]
        xor     ecx, ecx
.pd:    mov     [boot_pd + ecx * 8], eax
        add     eax, LARGE_PAGE_SIZE
        inc     ecx
        cmp     ecx, MAPPED_GIB * PAGE_SIZE / 8
        jb      .pd
        ret

; Says that there is no long mode, and ends. No record: those need Rust, and Rust needs long mode.
; IN        nothing
; OUT       does not return
give_up:
        mov     esi, no_long_mode
        mov     ecx, no_long_mode_length
.next:  lodsb
        out     DEBUG_PORT, al
        mov     edx, COM1
        out     dx, al
        loop    .next
        mov     al, EXIT_NO_LONG_MODE
        out     EXIT_PORT, al
.stop:  cli
        hlt
        jmp     .stop

bits 64
; IN        EBP = the magic, EDI = the information
; OUT       does not return
enter64:
        mov     eax, boot_gdt.data
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        xor     eax, eax
        mov     fs, eax
        mov     gs, eax
        fninit
        mov     esi, edi                ; clears the upper half, too
        mov     edi, ebp
        xor     ebp, ebp                ; the end of the frame chain, for a debugger
        call    rust_start
        ud2                             ; rust_start does not return
