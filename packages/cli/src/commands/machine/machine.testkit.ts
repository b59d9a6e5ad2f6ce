const MIB = 2 ** 20;

/** Enables the power button of the machine and waits for it (ACPI 6.5, 4.8.3.1). */
const enableButton = [0xba, 0x02, 0x06, 0xb8, 0x00, 0x01, 0xef];
const waitForButton = [0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa];
const powerOff = [0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd];
const halt = [0xfa, 0xf4, 0xeb, 0xfd];

/** A raw disk whose boot sector writes a text to the first serial port, and then switches off, or does not. */
export function bootDisk(text: string, then: 'off' | 'off-by-button' | 'nothing'): Uint8Array {
  const before = then === 'off-by-button' ? enableButton : [];
  const after = then === 'nothing' ? halt : then === 'off' ? powerOff : [...waitForButton, ...powerOff];
  // cld; xor ax,ax; mov ds,ax; mov si,text; then each character to port 0x3f8 until a zero.
  const print = (at: number) => [
    ...[0xfc, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, at % 256, Math.floor(at / 256)],
    ...[0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5],
  ];
  const textAt = before.length + print(0).length + after.length;
  const disk = new Uint8Array(MIB);
  disk.set([...before, ...print(0x7c00 + textAt), ...after]);
  disk.set(new TextEncoder().encode(`${text}\0`), textAt);
  disk.set([0x55, 0xaa], 510);
  return disk;
}

/** A descriptor of one boot: a system disk in this format, and a scratch disk that has to be made. */
export function descriptorOf(format: 'raw' | 'qcow2'): string {
  return `<?xml version="1.0" encoding="UTF-8"?>
<image>
  <name>tug</name>
  <domain>
    <boot type="hvm">
      <guest>
        <arch>x86_64</arch>
        <features>
          <acpi/>
          <apic/>
        </features>
      </guest>
      <os>
        <loader dev="hd"/></os>
      <drive disk="root.${format}"/>
      <drive disk="work.qcow2"/>
    </boot>
    <devices>
      <vcpu>1</vcpu>
      <memory>262144</memory>
      <interface/>
    </devices>
  </domain>

  <storage>
    <disk file="root.${format}" use="system" format="${format}"/>
    <disk file="work.qcow2" use="scratch" size="4" format="qcow2"/>
  </storage>
</image>
`;
}
