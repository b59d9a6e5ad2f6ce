# A boot sector that makes the whole screen blue, says on the first serial port how many disks the BIOS has, and waits
# for the power button. It starts from a CD too, and runs on processors of 32 bits.
	.intel_syntax noprefix
	.code16

	.equ	SERIAL, 0x3f8
	.equ	BIOS_DISKS, 0x475
	# ACPI's fixed registers, where the BIOS of QEMU's boards puts them (ACPI 6.5, 4.8.3).
	.equ	PM_STATUS, 0x600
	.equ	PM_ENABLE, 0x602
	.equ	PM_CONTROL, 0x604

start:
	xor	ax, ax
	mov	ds, ax
	cld
	mov	dx, PM_ENABLE
	mov	ax, 0x100
	out	dx, ax

	# Text of 80 columns and 25 rows; nothing but blue on blue; the cursor off.
	mov	ax, 3
	int	0x10
	mov	ax, 0x600
	mov	bh, 0x11
	xor	cx, cx
	mov	dx, 0x184f
	int	0x10
	mov	ah, 1
	mov	cx, 0x2000
	int	0x10

	mov	al, ds:[BIOS_DISKS]
	add	ds:[0x7c00 + digit], al
	mov	si, offset 0x7c00 + text
	mov	dx, SERIAL
1:	lodsb
	test	al, al
	jz	2f
	out	dx, al
	jmp	1b

2:	mov	dx, PM_STATUS
	in	ax, dx
	test	ah, 1
	jz	2b
	mov	dx, PM_CONTROL
	mov	ax, 0x2000
	out	dx, ax
3:	cli
	hlt
	jmp	3b

text:	.ascii	"disks: "
digit:	.asciz	"0\n"

	.org	510
	.word	0xaa55
