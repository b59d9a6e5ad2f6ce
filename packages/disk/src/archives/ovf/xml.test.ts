import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attributeOf, childrenOf, parseXml, textOf, xmlText } from './xml.ts';

const parse = (document: string) => parseXml(Buffer.from(document));

test('elements, attributes, text, comments, CDATA and entities are read', () => {
  const root = parse(`\ufeff<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment - with a hyphen -->
<ovf:Envelope xmlns:ovf='x' ovf:id = "a&amp;&#98;&#x63;">
  <Name>one<!-- between --> &lt;two&gt;<![CDATA[ <three> &amp; ]]></Name>
  <?vendor data?><Empty/><Empty id="2"></Empty>
</ovf:Envelope>
<!-- the end -->`);
  assert.equal(root.name, 'Envelope');
  assert.equal(attributeOf(root, 'id'), 'a&bc');
  assert.equal(textOf(root, 'Name'), 'one <two> <three> &amp;');
  assert.deepEqual(
    childrenOf(root, 'Empty').map((element) => attributeOf(element, 'id')),
    [undefined, '2'],
  );
});

test('what is put into a document is read as it was', () => {
  const value = `<a href="x">'&'</a>`;
  const root = parse(`<a b="${xmlText(value)}">${xmlText(value)}</a>`);
  assert.equal(root.text, value);
  assert.equal(attributeOf(root, 'b'), value);
});

const refused: Readonly<Record<string, readonly [document: string, code: string]>> = {
  'a DTD': ['<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', 'IMAGE_MALFORMED'],
  'a DTD behind the declaration': ['<?xml version="1.0"?><!DOCTYPE a><a/>', 'IMAGE_MALFORMED'],
  'an entity of its own': ['<a>&lol;</a>', 'IMAGE_MALFORMED'],
  'an entity of JavaScript': ['<a>&constructor;</a>', 'IMAGE_MALFORMED'],
  'an entity without an end': ['<a>&amp</a>', 'IMAGE_MALFORMED'],
  'a character that there is not': ['<a>&#x110000;</a>', 'IMAGE_MALFORMED'],
  'half a surrogate': ['<a>&#xd800;</a>', 'IMAGE_MALFORMED'],
  'an element that is not closed': ['<a><b></a>', 'IMAGE_MALFORMED'],
  'an element that is cut': ['<a><b', 'IMAGE_MALFORMED'],
  'two roots': ['<a/><b/>', 'IMAGE_MALFORMED'],
  'text alone': ['hello', 'IMAGE_MALFORMED'],
  nothing: ['', 'IMAGE_MALFORMED'],
  'an attribute twice': ['<a b="1" b="2"/>', 'IMAGE_MALFORMED'],
  'a comment with two hyphens': ['<a><!-- -- --></a>', 'IMAGE_MALFORMED'],
  'a second declaration': ['<a><?xml version="1.0"?></a>', 'IMAGE_MALFORMED'],
  'UTF-16': [Buffer.from('<a/>', 'utf16le').toString('latin1'), 'IMAGE_MALFORMED'],
  'a deep nest': ['<a>'.repeat(100) + '</a>'.repeat(100), 'IMAGE_LIMIT'],
  'many elements': [`<a>${'<b/>'.repeat(30_000)}</a>`, 'IMAGE_LIMIT'],
  'many attributes': [`<a ${Array.from({ length: 100 }, (_, i) => `a${i}=""`).join(' ')}/>`, 'IMAGE_LIMIT'],
  'more than 1 MiB': [`<a>${' '.repeat(2 ** 20)}</a>`, 'IMAGE_LIMIT'],
};

for (const [what, [document, code]] of Object.entries(refused)) {
  test(`a document with ${what} is refused`, () => {
    assert.throws(() => parse(document), { name: 'ImageError', code });
  });
}
