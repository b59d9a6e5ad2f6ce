import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MESSAGE_CHARACTERS_MAX, WARNING_COUNT_MAX, XML_BYTES_MAX, XML_DEPTH_MAX } from './limits.ts';
import { atPlace, readXml } from './read.ts';
import { attributeOf, childrenNamed, elementAt, textAt, type XmlElement } from './tree.ts';
import { Warnings } from './warnings.ts';
import { type XmlNode, xml, xmlCharacters, xmlDocument, xmlIf } from './write.ts';

const utf8 = new TextEncoder();

function read(text: string | Uint8Array): XmlElement {
  const bytes = typeof text === 'string' ? utf8.encode(text) : text;
  return readXml(bytes, { file: 'vm.xml', structure: 'test document' });
}

/** The tree without its places, as it would be written. */
function written({ name, attributes, children, text }: XmlElement): XmlNode {
  const pairs = [...attributes].map(([key, { value }]) => [key, value]);
  return {
    name,
    attributes: Object.fromEntries(pairs),
    content: children.length > 0 ? children.map(written) : text,
  };
}

test('elements and attributes know their lines and columns', () => {
  const root = read(
    '<?xml version="1.0"?>\r\n<!-- é -->\n<a one="1"\n   two = "&#10;">\n𝒳<b/><c x="1"/></a>\n',
  );
  assert.deepEqual(root.place, { line: 3, column: 1 });
  assert.deepEqual(root.attributes.get('one'), { value: '1', place: { line: 3, column: 4 } });
  assert.deepEqual(root.attributes.get('two'), { value: '\n', place: { line: 4, column: 4 } });
  assert.deepEqual(
    root.children.map(({ place }) => place),
    [
      { line: 5, column: 2 },
      { line: 5, column: 6 },
    ],
  );
  assert.deepEqual(root.children[1]?.attributes.get('x')?.place, { line: 5, column: 9 });
});

test('the text of an element is all that is inside, CDATA and references resolved', () => {
  const root = read('<a>x<b>&lt;&#65;</b><![CDATA[<y>]]><!-- z --></a>');
  assert.equal(root.text, 'x<A<y>');
  assert.equal(textAt(root, 'b'), '<A');
});

test('paths look on every branch, and empty values count as none', () => {
  const root = read('<a e=""><b/><b><c f="1"/></b><c xmlns="urn:x"/></a>');
  assert.equal(attributeOf(elementAt(root, 'b', 'c'), 'f'), '1');
  assert.equal(attributeOf(root, 'e'), undefined);
  assert.equal(textAt(root, 'b', 'c'), undefined);
  assert.equal(childrenNamed(root, 'c').length, 0);
  assert.equal(elementAt(root)?.name, 'a');
});

test('names in namespaces are kept apart from plain ones', () => {
  const root = read('<g:a xmlns:g="urn:g" g:x="1" x="2"><b/></g:a>');
  assert.equal(root.name, 'a');
  assert.equal(root.namespace, 'urn:g');
  assert.deepEqual([...root.attributes.keys()], ['{urn:g}x', 'x']);
  assert.equal(root.children[0]?.namespace, '');
});

test('UTF-8, UTF-16 and Latin-1 are decoded, and what is none of them is refused', () => {
  const utf16 = (text: string) => Buffer.from(text, 'utf16le');
  for (const bytes of [
    Buffer.from('\ufeff<a>é</a>'),
    utf16('\ufeff<a>é</a>'),
    utf16('<?xml version="1.0" encoding="UTF-16"?><a>é</a>'),
    utf16('\ufeff<a>é</a>').swap16(),
    Buffer.from('<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>', 'latin1'),
    Buffer.from("<?xml version='1.0' encoding='latin1'?><a>é</a>", 'latin1'),
    Buffer.from('<?xml version="1.0" encoding="us-ascii"?><a>&#xe9;</a>'),
  ]) {
    assert.equal(read(new Uint8Array(bytes)).text, 'é');
  }
  const latin1 = new Uint8Array(Buffer.from('<a>é</a>', 'latin1'));
  assert.throws(() => read(latin1), { code: 'IMAGE_MALFORMED', message: /not utf-8/ });
  const ascii = '<?xml version="1.0" encoding="us-ascii"?><a>é</a>';
  assert.throws(() => read(ascii), { code: 'IMAGE_MALFORMED', message: /not us-ascii/ });
  for (const name of ['EBCDIC-CP-US', 'constructor', '__proto__']) {
    const other = `<?xml version="1.0" encoding="${name}"?><a/>`;
    const message = `the encoding "${name.toLowerCase()}" is not read`;
    assert.throws(() => read(other), { code: 'IMAGE_UNSUPPORTED', message });
  }
});

test('what is no document is refused with its place', () => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['<a>\n<b></a>', /^vm\.xml:2:\d+: /],
    ['<a x="1" x="2"/>', /duplicate/],
    ['<a/><b/>', /^vm\.xml:1:\d+: /],
    ['<a>\u0000</a>', /^vm\.xml:1:4: /],
    ['<a>&x;</a>', /undefined entity/],
    ['<p:a/>', /unbound namespace prefix/],
    ['', /document must contain a root element/],
    ['text', /^vm\.xml:1:/],
    ['<a b=c/>', /^vm\.xml:1:6: /],
  ];
  for (const [text, message] of wrong) {
    assert.throws(() => read(text), { code: 'IMAGE_MALFORMED', message }, text);
  }
});

test('a document type declaration is refused, whatever is in it', () => {
  for (const declaration of [
    '<!DOCTYPE a>',
    '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
    '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]>',
  ]) {
    assert.throws(() => read(`<?xml version="1.0"?>\n${declaration}<a/>`), {
      code: 'IMAGE_MALFORMED',
      message: 'vm.xml:2:1: a document type declaration is refused',
    });
  }
});

test('large and deep documents are refused, the largest and deepest are read', () => {
  const deep = (depth: number) => '<a>'.repeat(depth) + '</a>'.repeat(depth);
  assert.equal(read(deep(XML_DEPTH_MAX)).name, 'a');
  assert.throws(() => read(deep(XML_DEPTH_MAX + 1)), {
    code: 'IMAGE_LIMIT',
    message: `vm.xml:1:${3 * XML_DEPTH_MAX + 1}: elements nest deeper than 32`,
  });
  assert.throws(() => read('<a>'.repeat(200_000)), { code: 'IMAGE_LIMIT' });
  const long = (lengthBytes: number) => `<a>${'x'.repeat(lengthBytes - 7)}</a>`;
  assert.equal(read(long(XML_BYTES_MAX)).text.length, XML_BYTES_MAX - 7);
  assert.throws(() => read(long(XML_BYTES_MAX + 1)), { code: 'IMAGE_LIMIT' });
});

test('messages and warnings are as many and as long as people read', () => {
  const place = { line: 1, column: 2 };
  const text = 'x'.repeat(MESSAGE_CHARACTERS_MAX);
  assert.equal(atPlace('vm.xml', place, text), `vm.xml:1:2: ${text}`);
  assert.equal(atPlace('vm.xml', place, `${text}y`), `vm.xml:1:2: ${text}…`);
  const warnings = new Warnings('vm.xml');
  for (let index = 0; index < WARNING_COUNT_MAX; index++) warnings.add({ place }, String(index));
  assert.equal(warnings.all.length, WARNING_COUNT_MAX);
  for (let index = 0; index < 3; index++) warnings.add({ place }, 'more');
  assert.deepEqual(warnings.all.slice(-2), [
    `vm.xml:1:2: ${WARNING_COUNT_MAX - 1}`,
    'vm.xml: 3 more warnings',
  ]);
});

test('what is written is read as it was', () => {
  const text = fc.string({ unit: 'binary', maxLength: 20 }).map(xmlCharacters);
  const attributes = fc.dictionary(fc.constantFrom('one', 'two', 'x-y'), text);
  const { node } = fc.letrec<{ node: XmlNode }>((tie) => ({
    node: fc.record({
      name: fc.constantFrom('a', 'b', 'c_d'),
      attributes: attributes.map((pairs) => ({ ...pairs })),
      content: fc.oneof({ depthSize: 'small' }, text, fc.array(tie('node'), { minLength: 1, maxLength: 4 })),
    }),
  }));
  fc.assert(
    fc.property(node, (root) => assert.deepEqual(written(read(xmlDocument(root))), structuredClone(root))),
  );
});

test('what XML cannot hold is replaced, and what is not there is not written', () => {
  assert.equal(read(xmlDocument(xml('a', { x: undefined, n: 1 }, '\u0001\ud800ok'))).text, '\ufffd\ufffdok');
  const root = read(xmlDocument(xml('a', {}, [xmlIf('b', undefined), xmlIf('c', 7)])));
  assert.deepEqual(
    root.children.map(({ name, text }) => [name, text]),
    [['c', '7']],
  );
});
