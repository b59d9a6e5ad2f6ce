/** Where a BIOS puts the first sector of what it starts from. */
const ORIGIN = 0x7c00;

/** Reports the power button: enables it, as an operating system does (ACPI 6.5, 4.8.3.1). */
const enableButton = [0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef];
/** Reads the status of the button until it was pressed. */
const waitForButton = [0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa];
/** Soft off, and a halt for machines that do not know it. */
const powerOff = [0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd];
/**
 * Lets go of every device that the host wants back, as an operating system does by the ACPI tables of the board `pc`:
 * bus 0 is chosen (0xae10), the mask of what is to go is read (0xae04) and written to the register that ejects (0xae08).
 */
const eject = [
  ...[0xba, 0x10, 0xae, 0x66, 0x31, 0xc0, 0x66, 0xef, 0xba, 0x04, 0xae, 0x66, 0xed],
  ...[0x66, 0x85, 0xc0, 0x74, 0xee, 0xba, 0x08, 0xae, 0x66, 0xef, 0xeb, 0xe4],
];
/** Halts without ever looking at the button. */
const halt = [0xfa, 0xf4, 0xeb, 0xfd];

type Then = 'off' | 'off-by-button' | 'ejecting' | 'nothing';

/**
 * A boot sector that writes a text to the first serial port, and then switches the machine off, at once or when the
 * power button is pressed; or gives back devices, or does nothing any more.
 */
export function bootSector(text: string, then: Then): Uint8Array {
  const before = then === 'off-by-button' ? enableButton : [];
  const after = {
    off: powerOff,
    'off-by-button': [...waitForButton, ...powerOff],
    ejecting: eject,
    nothing: halt,
  }[then];
  // cld; xor ax,ax; mov ds,ax; mov si,text; lodsb; test al,al; jz done; mov dx,0x3f8; out dx,al; jmp to lodsb
  const print = (at: number) => [
    ...[0xfc, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, at % 256, Math.floor(at / 256)],
    ...[0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5],
  ];
  const codeLength = before.length + print(0).length + after.length;
  const code = [...before, ...print(ORIGIN + codeLength), ...after];
  const sector = new Uint8Array(512);
  sector.set(code);
  sector.set(new TextEncoder().encode(`${text}\0`), codeLength);
  sector.set([0x55, 0xaa], 510);
  return sector;
}
