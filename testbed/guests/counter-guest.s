# A boot sector that counts on every disk; counter-guest.ts says what it is for and reads what it writes.
	.intel_syntax noprefix
	.code16

	.equ	SERIAL, 0x3f8
	# The data area of the BIOS: its tick of 65536 / 1193182 s, and how many disks there are.
	.equ	BIOS_TICKS, 0x46c
	.equ	BIOS_DISKS, 0x475
	# ACPI's fixed registers, where the BIOS of QEMU's boards puts them (ACPI 6.5, 4.8.3).
	.equ	PM_STATUS, 0x600
	.equ	PM_ENABLE, 0x602
	.equ	PM_CONTROL, 0x604

	# What is written: a sector of memory.
	.equ	RECORD, 0x8000
	.equ	COUNT, RECORD + 8
	.equ	DISK, RECORD + 16
	.equ	NOW, RECORD + 24
	.equ	GAP, RECORD + 32
	.equ	CALIBRATION, RECORD + 40

start:
	mov	dx, SERIAL
	mov	al, 'G'
	out	dx, al

	xor	ax, ax
	mov	ds, ax
	mov	es, ax
	mov	ss, ax
	mov	sp, 0x7c00
	cld
	sti
	mov	di, RECORD
	mov	cx, 256
	rep stosw
	mov	si, offset 0x7c00 + magic
	mov	di, RECORD
	mov	cx, 4
	rep movsw

	mov	dx, PM_ENABLE
	mov	ax, 0x100
	out	dx, ax

# How far the processor's counter gets in four ticks of the BIOS.
	call	wait_for_tick
	rdtsc
	mov	ds:[CALIBRATION], eax
	mov	ds:[CALIBRATION + 4], edx
	mov	cx, 4
1:	call	wait_for_tick
	loop	1b
	rdtsc
	sub	eax, ds:[CALIBRATION]
	sbb	edx, ds:[CALIBRATION + 4]
	mov	ds:[CALIBRATION], eax
	mov	ds:[CALIBRATION + 4], edx

	rdtsc
	mov	ds:[NOW], eax
	mov	ds:[NOW + 4], edx

round:
	add	dword ptr ds:[COUNT], 1
	adc	dword ptr ds:[COUNT + 4], 0
	rdtsc
	mov	ebx, eax
	mov	ecx, edx
	sub	eax, ds:[NOW]
	sbb	edx, ds:[NOW + 4]
	mov	ds:[NOW], ebx
	mov	ds:[NOW + 4], ecx
	cmp	edx, ds:[GAP + 4]
	jb	2f
	ja	1f
	cmp	eax, ds:[GAP]
	jbe	2f
1:	mov	ds:[GAP], eax
	mov	ds:[GAP + 4], edx

2:	mov	byte ptr ds:[DISK], 0
disk:
	# Extended write: it returns when the disk has answered.
	mov	si, offset 0x7c00 + packet
	mov	ax, 0x4300
	mov	dl, ds:[DISK]
	add	dl, 0x80
	int	0x13
	jc	failed
	inc	byte ptr ds:[DISK]
	mov	al, ds:[DISK]
	cmp	al, ds:[BIOS_DISKS]
	jb	disk

	cmp	byte ptr ds:[0x7c00 + counts], 0
	je	3f
	mov	si, offset 0x7c00 + counts
	call	print
	mov	byte ptr ds:[0x7c00 + counts], 0

3:	mov	dx, PM_STATUS
	in	ax, dx
	test	ah, 1
	jz	round
	mov	dx, PM_CONTROL
	mov	ax, 0x2000
	out	dx, ax
	jmp	halted

failed:
	mov	si, offset 0x7c00 + fails
	call	print
halted:
	cli
	hlt
	jmp	halted

wait_for_tick:
	mov	ax, ds:[BIOS_TICKS]
1:	hlt
	cmp	ax, ds:[BIOS_TICKS]
	je	1b
	ret

print:
	mov	dx, SERIAL
1:	lodsb
	test	al, al
	jz	2f
	out	dx, al
	jmp	1b
2:	ret

	.balign	4
# One sector of memory to the sector that counter-guest.ts puts in.
packet:
	.byte	16, 0
	.word	1
	.word	RECORD, 0
	.quad	0
magic:	.ascii	"GANTRYCT"
counts:	.asciz	" counts\n"
fails:	.asciz	" fails\n"

	.org	510
	.word	0xaa55
