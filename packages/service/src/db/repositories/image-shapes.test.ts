import assert from 'node:assert/strict';
import { forEachEngine } from '../engines.testkit.ts';
import { deleteImageShape, listImageShapes, putImageShape } from './image-shapes.ts';
import { insertImage } from './images.ts';
import { imageRow, makeTenancy } from './rows.testkit.ts';

forEachEngine('the shapes of an image are put, written over and removed, by name', async (open) => {
  const { kysely } = await open();
  const { id: tenancyId } = await makeTenancy(kysely);
  const image = imageRow(tenancyId, null);
  await insertImage(kysely, image);
  const entry = (shape: string, ocpu_json: string | null = null) => ({
    image_id: image.id,
    shape,
    ocpu_json,
    memory_json: null,
  });
  await putImageShape(kysely, entry('b'));
  await putImageShape(kysely, entry('a'));
  await putImageShape(kysely, entry('b', '{"min":2}'));
  assert.deepEqual(await listImageShapes(kysely, image.id), [entry('a'), entry('b', '{"min":2}')]);
  assert.equal(await deleteImageShape(kysely, image.id, 'a'), true);
  assert.equal(await deleteImageShape(kysely, image.id, 'a'), false);
});
