/** A descriptor with all that the format has, written for these tests. */
export const fullDescriptor = `<?xml version="1.0" encoding="UTF-8"?>
<image>
  <name version="1.2" release="3">harbour</name>
  <label>Harbour crane</label>
  <description>Lifts &lt;things&gt;</description>
  <domain>
    <boot type="xen">
      <guest>
        <arch>i686</arch>
        <features>
          <pae/>
        </features>
      </guest>
      <os>
        <loader>pygrub</loader>
      </os>
      <drive disk="root.raw" target="xvda"/>
      <drive disk="work"/>
    </boot>
    <boot type="hvm">
      <guest>
        <arch>x86_64</arch>
        <features>
          <acpi/>
          <apic state="off"/>
        </features>
      </guest>
      <os>
        <loader dev="cdrom"/>
      </os>
      <drive disk="work"/>
      <drive disk="root.raw" target="hda"/>
      <drive disk="tools.iso"/>
    </boot>
    <boot type="hvm">
      <guest>
        <arch>aarch64</arch>
      </guest>
      <os>
        <kernel>boot/vmlinuz</kernel>
        <initrd>boot/initrd.img</initrd>
        <cmdline>console=ttyS0 quiet</cmdline>
      </os>
      <drive disk="root.raw"/>
    </boot>
    <devices>
      <vcpu>2</vcpu>
      <memory>262144</memory>
      <interface/>
      <interface/>
      <graphics/>
    </devices>
  </domain>
  <storage>
    <disk file="root.raw" use="system" format="raw">
      <checksum type="sha256">e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855</checksum>
    </disk>
    <disk file="work.qcow2" id="work" use="scratch" size="300" format="qcow2"/>
    <disk file="tools.iso" use="system" format="iso"/>
  </storage>
</image>
`;

/** The descriptor with a text in it replaced; the text has to be there. */
export function changed(from: string | RegExp, to: string): Uint8Array {
  const text = fullDescriptor.replace(from, to);
  if (text === fullDescriptor) throw new Error(`the descriptor has no ${from}`);
  return new TextEncoder().encode(text);
}

export const fullDescriptorBytes: Uint8Array = new TextEncoder().encode(fullDescriptor);
