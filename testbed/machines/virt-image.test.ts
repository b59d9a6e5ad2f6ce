import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { root } from '../house/files.ts';
import { projectModule } from '../house/pages.ts';
import { grammarOf } from './grammars.ts';

const folder = 'packages/machine/src/descriptors/virt-image';
const { fullDescriptor } = await projectModule<{ readonly fullDescriptor: string }>(
  `${folder}/virt-image.testkit.ts`,
);
const { strictErrors } = await projectModule<{ strictErrors(root: unknown): { readonly message: string }[] }>(
  `${folder}/lint.ts`,
);
const { writeVirtImage } = await projectModule<{
  writeVirtImage(machine: unknown): { readonly text: string };
}>(`${folder}/write.ts`);
const { readXml } = await projectModule<{
  readXml(bytes: Uint8Array, options: { readonly file: string; readonly structure: string }): unknown;
}>('packages/machine/src/descriptors/xml/read.ts');
const { machines } = await projectModule<{ readonly machines: fc.Arbitrary<Record<string, unknown>> }>(
  'packages/machine/src/model.testkit.ts',
);

const grammar = grammarOf(join(root, 'docs/reference/virt-image.rng'));

/** What Gantry's own check of the strict form says. */
function ownErrors(text: string): string[] {
  return strictErrors(readXml(Buffer.from(text), { file: 'vm.xml', structure: 'x' })).map(
    ({ message }) => message,
  );
}

test('the published grammar takes the full descriptor', () => {
  assert.deepEqual(grammar.errorsIn(fullDescriptor), []);
  assert.deepEqual(ownErrors(fullDescriptor), []);
});

test('the published grammar takes whatever is written', () => {
  const disk = { role: 'system', device: 'disk', path: 'root.raw', format: 'raw', bus: 'ide' };
  fc.assert(
    fc.property(machines, (machine) => {
      const { text } = writeVirtImage({ ...machine, disks: [disk, ...(machine.disks as object[])] });
      assert.deepEqual(grammar.errorsIn(text), [], text);
    }),
  );
});

/** Tags, attributes and texts of the descriptor, to take away, to double, to move and to change. */
const parts = fullDescriptor.match(/<[^>]*>|[^<>]+/g) ?? [];
const elements = [...fullDescriptor.matchAll(/<(\w+)[^<>]*?(?:\/>|>[^<]*<\/\1>)/g)].map(([text]) => text);
const values = [
  '',
  ' ',
  'x',
  'on',
  'off',
  'hd',
  'xen',
  '1',
  '0',
  '01',
  '1.5',
  '-1',
  '/x',
  '../x',
  'a b',
  'é',
  'iso',
  'sha1',
  'user',
  'a:b',
  '1-2',
  'pygrub ',
  '\n',
];

const change: fc.Arbitrary<(text: string) => string> = fc.oneof(
  fc.constantFrom(...elements).map((element) => (text: string) => text.replace(element, '')),
  fc
    .constantFrom(...elements)
    .map((element) => (text: string) => text.replace(element, () => element + element)),
  fc
    .tuple(fc.constantFrom(...elements), fc.constantFrom(...parts.filter((part) => part.startsWith('<'))))
    .map(
      ([element, tag]) =>
        (text: string) =>
          text.replace(element, '').replace(tag, () => element + tag),
    ),
  fc.tuple(fc.nat({ max: 40 }), fc.constantFrom(...values)).map(([index, value]) => (text: string) => {
    let seen = 0;
    return text.replaceAll(/(\w=)"[^"]*"/g, (whole, name) =>
      seen++ === index + 2 ? `${name}"${value}"` : whole,
    );
  }),
  fc
    .tuple(
      fc.constantFrom(...elements.filter((element) => />[^<]+</.test(element))),
      fc.constantFrom(...values),
    )
    .map(
      ([element, value]) =>
        (text: string) =>
          text.replace(element, () => element.replace(/>[^<]+</, `>${value}<`)),
    ),
  fc
    .constantFrom(...parts.filter((part) => /^<\w/.test(part)))
    .chain((tag) =>
      fc
        .constantFrom('x="1"', 'g:x="1" xmlns:g="urn:g"', 'id="1"', 'state="on"')
        .map(
          (attribute) => (text: string) =>
            text.replace(tag, () => tag.replace(/\/?>$/, (end) => ` ${attribute}${end}`)),
        ),
    ),
  fc
    .tuple(
      fc.constantFrom(...parts.filter((part) => /^<\//.test(part))),
      fc.constantFrom('text', '<x/>', '<g:y xmlns:g="urn:g" a="1">t<z/></g:y>', '<features/>', '<!-- c -->'),
    )
    .map(
      ([tag, inserted]) =>
        (text: string) =>
          text.replace(tag, () => inserted + tag),
    ),
);

test('the check of the strict form and the published grammar say the same of any descriptor', () => {
  const counts = { valid: 0, invalid: 0 };
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 2 }), (changes) => {
      const text = changes.reduce((before, apply) => apply(before), fullDescriptor);
      let own: string[];
      try {
        own = ownErrors(text);
      } catch {
        return;
      }
      const theirs = grammar.errorsIn(text);
      assert.equal(own.length > 0, theirs.length > 0, `${own.join()} | ${theirs.join()}\n${text}`);
      counts[own.length > 0 ? 'invalid' : 'valid'] += 1;
    }),
    { numRuns: 1500 },
  );
  assert.ok(counts.valid > 50 && counts.invalid > 500, JSON.stringify(counts));
});
