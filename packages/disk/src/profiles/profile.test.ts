import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatNamed } from '../formats/registry.ts';
import { consumerNamed, consumers } from './consumers.ts';
import { fileLengthProblem, formFor, requireSizeFor } from './profile.ts';

const MIB = 1024 * 1024;

test('what is written when nothing is asked for', () => {
  const usual = Object.fromEntries(consumers.map((consumer) => [consumer.name, formFor(consumer)]));
  const qcow2 = { compat: '1.1' };
  const stream = { subformat: 'streamOptimized', adapter_type: 'lsilogic', tables: 'end' };
  assert.deepEqual(usual, {
    virtualbox: { format: 'vdi', options: { subformat: 'dynamic' }, compression: undefined },
    vmware: { format: 'vmdk', options: stream, compression: undefined },
    'hyper-v': {
      format: 'vhdx',
      options: { subformat: 'dynamic', logical_sector_size: '512' },
      compression: undefined,
    },
    azure: { format: 'vhd', options: { subformat: 'fixed', size_alignment: '1M' }, compression: undefined },
    aws: { format: 'vmdk', options: stream, compression: undefined },
    oci: { format: 'qcow2', options: qcow2, compression: undefined },
    ims: { format: 'qcow2', options: { ...qcow2, deflate_window: '12' }, compression: 'zlib' },
    qemu: { format: 'qcow2', options: qcow2, compression: undefined },
    proxmox: { format: 'qcow2', options: qcow2, compression: undefined },
  });
});

test('every form names a format that is written, with options and values that it has, and can be checked', async () => {
  for (const consumer of consumers) {
    const { name, forms } = consumer;
    const checks = await consumer.checks();
    for (const { format, options, compressions } of forms) {
      const known = formatNamed(format);
      assert.ok(known.plan !== undefined, `${name}: ${format} is written`);
      assert.ok(
        checks.some((check) => check.format === format),
        `${name}: ${format} is checked`,
      );
      for (const [option, values] of Object.entries(options)) {
        const own = known.options?.find((candidate) => candidate.name === option);
        assert.ok(own !== undefined, `${name}: ${format} has the option ${option}`);
        if (values !== 'any')
          for (const value of values) assert.ok(own.values?.includes(value), `${option}=${value}`);
      }
      for (const method of compressions) {
        assert.ok(method === 'none' || known.compressions?.includes(method), `${name}: ${format} ${method}`);
      }
    }
  }
});

test('a wish refines', () => {
  const virtualbox = consumerNamed('virtualbox');
  assert.deepEqual(formFor(virtualbox, { options: { subformat: 'fixed' } }), {
    format: 'vdi',
    options: { subformat: 'fixed' },
    compression: undefined,
  });
  // Only a VMDK has this: the first form that takes it.
  assert.equal(formFor(virtualbox, { options: { subformat: 'streamOptimized' } }).format, 'vmdk');
  assert.deepEqual(
    formFor(virtualbox, { format: 'qcow2', compression: 'zlib', options: { cluster_size: '4096' } }),
    {
      format: 'qcow2',
      options: { compat: '1.1', cluster_size: '4096', deflate_window: '12' },
      compression: 'zlib',
    },
  );
  assert.equal(formFor(consumerNamed('ims'), { format: 'raw' }).compression, undefined);
});

test('a wish that the consumer would not take is refused, with what it takes', () => {
  const refusal = { code: 'IMAGE_OPTION' };
  const azure = consumerNamed('azure');
  assert.throws(() => formFor(azure, { format: 'qcow2' }), { ...refusal, hint: 'it takes vhd' });
  assert.throws(() => formFor(azure, { options: { subformat: 'dynamic' } }), {
    ...refusal,
    hint: 'it takes subformat fixed',
  });
  assert.throws(() => formFor(azure, { compression: 'zlib' }), refusal);
  assert.throws(
    () => formFor(consumerNamed('virtualbox'), { format: 'qcow2', compression: 'zstd' }),
    refusal,
  );
  assert.throws(() => formFor(azure, { options: { toString: 'x' } }), refusal);
  assert.throws(() => consumerNamed('xen'), { ...refusal, structure: 'consumer name' });
});

test('a disk of a size that the consumer does not take is refused before it is written', () => {
  const refusal = { code: 'IMAGE_LIMIT' };
  assert.throws(() => requireSizeFor(consumerNamed('azure'), 20 * MIB - 1), refusal);
  requireSizeFor(consumerNamed('azure'), 20 * MIB);
  assert.throws(() => requireSizeFor(consumerNamed('oci'), 401 * 1024 * MIB), refusal);
  requireSizeFor(consumerNamed('qemu'), 2 ** 50);
  assert.match(fileLengthProblem(consumerNamed('ims'), 'qcow2', 129 * 1024 * MIB) ?? '', /137438953472/);
  assert.equal(fileLengthProblem(consumerNamed('ims'), 'raw', 129 * 1024 * MIB), undefined);
});
