/** Where the counter stands in the memory of the guest, and the sector that is written. */
const BUFFER = 0x8000;
const ORIGIN = 0x7c00;

/** Blocks that are written in turn, and the sectors from one to the next. */
export const COUNTER_BLOCKS = 32;
const STRIDE_SECTORS = 128;
/** What a disk needs to hold all of them. */
export const COUNTER_DISK_BYTES: number = COUNTER_BLOCKS * STRIDE_SECTORS * 512;

/**
 * A boot sector that counts for ever and writes each number to the first disk, then to the second, then to the third:
 * number N into the second sector of block N modulo 32, by the BIOS (INT 13h, AH=43h).
 */
export function counterSector(): Uint8Array {
  const packetAt = 0x40;
  const word = (value: number) => [value % 256, Math.floor(value / 256)];
  const code = [
    // xor ax,ax; mov ds,ax; mov ss,ax; mov sp,ORIGIN; mov dword [BUFFER],0
    ...[0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, 0xbc, ...word(ORIGIN)],
    ...[0x66, 0xc7, 0x06, ...word(BUFFER), 0, 0, 0, 0],
    // count: inc dword [BUFFER]; mov eax,[BUFFER]; and eax,31; shl eax,7; inc eax; mov [packet.lba],eax
    ...[0x66, 0xff, 0x06, ...word(BUFFER), 0x66, 0xa1, ...word(BUFFER), 0x66, 0x25, 0x1f, 0, 0, 0],
    ...[0x66, 0xc1, 0xe0, 0x07, 0x66, 0x40, 0x66, 0xa3, ...word(ORIGIN + packetAt + 8)],
    // mov dl,0x80; each: mov si,packet; mov ax,0x4300; push dx; int 0x13; pop dx; inc dl; cmp dl,0x83; jne each; jmp count
    ...[0xb2, 0x80, 0xbe, ...word(ORIGIN + packetAt), 0xb8, 0x00, 0x43, 0x52, 0xcd, 0x13, 0x5a],
    ...[0xfe, 0xc2, 0x80, 0xfa, 0x83, 0x75, 0xef, 0xeb],
  ];
  // Back to `count`, from behind this byte.
  const countAt = 18;
  code.push(256 + countAt - (code.length + 1));
  const sector = new Uint8Array(512);
  sector.set(code);
  // The disk address packet: its size, one sector, the buffer as offset and segment, the sector.
  sector.set([0x10, 0, 1, 0, ...word(BUFFER), 0, 0, 1], packetAt);
  sector.set([0x55, 0xaa], 510);
  return sector;
}

function numbersOn(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: COUNTER_BLOCKS }, (_, block) =>
    view.getUint32((block * STRIDE_SECTORS + 1) * 512, true),
  );
}

/** The highest number on a disk, also on one that is being written. */
export function highestCount(bytes: Uint8Array): number {
  return Math.max(...numbersOn(bytes));
}

/** The last number on a disk. Throws when a block does not hold the last number before it that is its own. */
export function lastCount(bytes: Uint8Array): number {
  const last = highestCount(bytes);
  for (const [block, number] of numbersOn(bytes).entries()) {
    const behind = (last - block + COUNTER_BLOCKS) % COUNTER_BLOCKS;
    const expected = Math.max(0, last - behind);
    if (number !== expected) throw new Error(`block ${block} holds ${number}, with ${last} written last`);
  }
  return last;
}
