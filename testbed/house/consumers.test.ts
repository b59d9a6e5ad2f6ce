import assert from 'node:assert/strict';
import { test } from 'node:test';
import { consumers, formFor } from '@gantry/disk';
import { codeWords, sectionOf, tableRows } from './pages.ts';

test('the matrix of consumers names every one, the formats that it takes and what is written', () => {
  const rows = tableRows(sectionOf('docs/reference/formats.md', 'Consumers').text);
  const shown = rows.map(([name = '', title, formats = '', written = '']) => ({
    name: codeWords(name)[0],
    title,
    formats: codeWords(formats),
    written: codeWords(written),
  }));
  const expected = consumers.map((consumer) => {
    const { options, compression } = formFor(consumer);
    return {
      name: consumer.name,
      title: consumer.title,
      formats: [...new Set(consumer.forms.map(({ format }) => format))],
      written: [
        ...Object.entries(options).map(([name, value]) => `${name}=${value}`),
        ...(compression === undefined ? [] : [compression]),
      ],
    };
  });
  assert.deepEqual(shown, expected);
});
