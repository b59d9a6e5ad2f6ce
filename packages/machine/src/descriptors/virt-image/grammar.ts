/** What a text may be, in the words of a message. The patterns are also those of docs/reference/virt-image.rng. */
export interface TextRule {
  readonly pattern: RegExp;
  readonly is: string;
}

export interface AttributeRule extends TextRule {
  readonly isRequired: boolean;
}

export interface ChildRule {
  readonly name: string;
  readonly min: 0 | 1;
  readonly max: 1 | 'many';
  readonly element: ElementRule;
}

/** The strict form of one element: children in this order, no other attributes, no text beside what is said. */
export interface ElementRule {
  readonly attributes: Readonly<Record<string, AttributeRule>>;
  readonly children: readonly ChildRule[];
  /** Absent: blanks only. */
  readonly text?: TextRule;
}

const empty: ElementRule = { attributes: {}, children: [] };
const number: TextRule = { pattern: /^[1-9][0-9]*$/, is: 'a whole number above 0' };
const path: TextRule = {
  pattern: /^[A-Za-z0-9_.+%-][A-Za-z0-9_.+%/-]*$/,
  is: 'a relative path of the letters A-Z a-z 0-9 _ . + - % /',
};
const name: TextRule = {
  pattern: /^[A-Za-z0-9_.+:/-]+$/,
  is: 'a name of the letters A-Z a-z 0-9 _ . + - : /',
};
const version: TextRule = { pattern: /^[0-9]+(\.[0-9]+)*(-[0-9]+)?$/, is: 'a version: 1.2 or 1.2-3' };

const anyText: ElementRule = { ...empty, text: { pattern: /^/, is: 'a text' } };
const pathText: ElementRule = { ...empty, text: path };
const numberText: ElementRule = { ...empty, text: number };

function words(...values: readonly string[]): TextRule {
  return {
    pattern: new RegExp(`^(?:${values.join('|')})$`),
    is: values.join(', ').replace(/, ([^,]*)$/, ' or $1'),
  };
}

function required(rule: TextRule): AttributeRule {
  return { ...rule, isRequired: true };
}

function optional(rule: TextRule): AttributeRule {
  return { ...rule, isRequired: false };
}

function one(name: string, element: ElementRule): ChildRule {
  return { name, min: 1, max: 1, element };
}

function maybe(name: string, element: ElementRule): ChildRule {
  return { name, min: 0, max: 1, element };
}

function some(min: 0 | 1, name: string, element: ElementRule): ChildRule {
  return { name, min, max: 'many', element };
}

const feature: ElementRule = { ...empty, attributes: { state: optional(words('on', 'off')) } };

const guest: ElementRule = {
  ...empty,
  children: [
    one('arch', {
      ...empty,
      text: { pattern: /^[A-Za-z0-9_]+$/, is: 'an architecture: i686, x86_64, aarch64' },
    }),
    maybe('features', {
      ...empty,
      children: [maybe('pae', feature), maybe('acpi', feature), maybe('apic', feature)],
    }),
  ],
};

/** That it is either a loader or a kernel is told by the one who checks. */
const os: ElementRule = {
  ...empty,
  children: [
    maybe('loader', {
      ...empty,
      attributes: { dev: optional(words('hd', 'cdrom')) },
      text: { pattern: /^(?:[ \t\r\n]*|pygrub)$/, is: 'pygrub, or left empty' },
    }),
    maybe('kernel', pathText),
    maybe('initrd', pathText),
    maybe('cmdline', anyText),
  ],
};

const boot: ElementRule = {
  attributes: { type: required(words('xen', 'hvm')) },
  children: [
    one('guest', guest),
    one('os', os),
    some(1, 'drive', {
      ...empty,
      attributes: {
        disk: required(path),
        target: optional({ pattern: /^[A-Za-z0-9_.:/-]+$/, is: 'the name of a device: hda' }),
      },
    }),
  ],
};

const disk: ElementRule = {
  attributes: {
    file: required(path),
    id: optional({ pattern: /^[A-Za-z_][A-Za-z0-9_.-]*$/, is: 'an identifier that begins with a letter' }),
    use: required(words('system', 'user', 'scratch')),
    size: optional({ ...number, is: 'a whole number of MiB above 0' }),
    format: optional(words('raw', 'iso', 'qcow', 'qcow2', 'vmdk', 'vdi', 'vhd', 'vpc', 'vhdx')),
  },
  children: [
    some(0, 'checksum', {
      ...empty,
      attributes: { type: required(words('sha1', 'sha256')) },
      text: {
        pattern: /^[ \t\r\n]*(?:[0-9a-fA-F]{40}|[0-9a-fA-F]{64})[ \t\r\n]*$/,
        is: '40 or 64 hexadecimal digits',
      },
    }),
  ],
};

/** The strict form of a descriptor: `<image>` and all that is in it. */
export const imageRule: ElementRule = {
  ...empty,
  children: [
    one('name', {
      ...empty,
      attributes: { version: optional(version), release: optional(version) },
      text: name,
    }),
    maybe('label', anyText),
    maybe('description', anyText),
    one('domain', {
      ...empty,
      children: [
        some(1, 'boot', boot),
        one('devices', {
          ...empty,
          children: [
            one('vcpu', numberText),
            one('memory', numberText),
            some(0, 'interface', empty),
            maybe('graphics', empty),
          ],
        }),
      ],
    }),
    one('storage', { ...empty, children: [some(1, 'disk', disk)] }),
  ],
};
