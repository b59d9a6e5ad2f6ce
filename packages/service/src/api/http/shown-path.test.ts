import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shownPath } from './shown-path.ts';

test('a path is shown without its query and without the token of a pre-authenticated request', () => {
  assert.equal(shownPath('/oci/p/SECRET/n/main/b/bucket/o/x?y=z'), '/oci/p/…/n/main/b/bucket/o/x');
  assert.equal(shownPath('/p/SECRET'), '/p/…');
  assert.equal(shownPath('/api/v1/images?name=x'), '/api/v1/images');
});
