export { type OciDocument, ociDocumentWarnings, parseOciDocument } from './archives/oci/document.ts';
export { type OvaDescriptor, readOvaDescriptor } from './archives/ova/read-descriptor.ts';
export { type OvfDescription, type OvfDisk, type OvfFile, parseOvf } from './archives/ovf/envelope.ts';
export { ovfQuantityBytes } from './archives/ovf/quantity.ts';
export { type TarMember, tarMembers } from './archives/tar/reader.ts';
export { crc32c, joinedCrc32c } from './bytes/crc32c.ts';
export { isZero } from './bytes/fields.ts';
export { mapOrdered } from './convert/bounded.ts';
export { BufferPool } from './convert/buffer-pool.ts';
export {
  type ConvertOptions,
  convert,
  type PlanOptions,
  planFiles,
  planImage,
  planStored,
  withZerosToConvert,
} from './convert/convert.ts';
export { convertFiles, type WrittenFile } from './convert/convert-files.ts';
export { type Measurement, measure } from './convert/measure.ts';
export type { Progress, ProgressListener } from './convert/progress.ts';
export { type WriteOptions, writeLayout, writeStream } from './convert/write.ts';
export { type CompareOptions, type CompareResult, compareDisks } from './disk/compare.ts';
export { type DataRun, dataRuns } from './disk/data-runs.ts';
export {
  DIGEST_BLOCK_BYTES,
  DIGEST_PREFIX,
  type DigestOptions,
  DigestTree,
  type DigestTreeState,
  diskDigest,
} from './disk/digest.ts';
export type { DetailValue, Disk, Extent, ExtentKind, StoredRun } from './disk/disk.ts';
export { diskMap } from './disk/map.ts';
export {
  denyReferences,
  type Reference,
  type ReferenceGate,
  type ResolvedReference,
  suppliedReferences,
} from './disk/reference-gate.ts';
export type { WritableDisk } from './disk/writable-disk.ts';
export { withZerosFound } from './disk/zero-detection.ts';
export {
  ImageError,
  type ImageErrorCode,
  type ImageErrorPlace,
  imageErrorCodes,
  StoreError,
  type StoreErrorCode,
  storeErrorCodes,
} from './errors.ts';
export type {
  CheckFinding,
  CheckReport,
  CheckSeverity,
  FileSet,
  Format,
  FormatOption,
  OpenOptions,
  ProbeBytes,
  RepairPlan,
  WriteRequest,
} from './formats/format.ts';
export { type OpenDiskOptions, openDisk } from './formats/open.ts';
export { probeFormat } from './formats/probe.ts';
export { createOverlay, type OverlayOptions, openOverlay } from './formats/qcow2/overlay-file.ts';
export { qcow2StoredLayout, type StoredLayoutOptions } from './formats/qcow2/stored-layout.ts';
export { formatNamed, formats, refusedFormats } from './formats/registry.ts';
export type { Accelerator } from './io/accelerator.ts';
export { blobSource } from './io/blob.ts';
export type { SocketAddress } from './io/byte-channel.ts';
export { byteChunks } from './io/byte-chunks.ts';
export type { ByteSink } from './io/byte-sink.ts';
export { type ByteRange, type ByteSource, readStructure } from './io/byte-source.ts';
export type { Compression } from './io/codec.ts';
export { type ForwardSource, forwardSource, openEndedSource } from './io/forward.ts';
export {
  type HttpAnswer,
  type HttpFetch,
  type HttpRequestInit,
  moveCredentials,
  shownAddress,
} from './io/http-fetch.ts';
export { type HttpSource, type HttpSourceOptions, httpSource } from './io/http-range.ts';
export { memorySink, memorySource } from './io/memory.ts';
export {
  type AcceleratorUse,
  type CodecTier,
  codecTier,
  useAccelerator,
} from './io/node-accelerator.ts';
export {
  type FileSinkOptions,
  fileSink,
  fileSource,
  requireUnchanged,
  spooledSource,
  storeError,
  syncFolder,
} from './io/node-file.ts';
export { randomSeed, sha256 } from './io/node-hash.ts';
export { patchFile } from './io/node-patch.ts';
export { startThreads, workInCallingThread } from './io/node-work.ts';
export { type ReadAheadOptions, readAheadSource } from './io/read-ahead.ts';
export { sliceSource } from './io/slice.ts';
export { isNbdAddress, type NbdAddress, nbdAddressText, parseNbdAddress } from './nbd/address.ts';
export { type NbdClientOptions, type NbdSource, nbdSource, openNbd } from './nbd/client.ts';
export type { NbdExport } from './nbd/export.ts';
export { type NbdServer, type NbdServerOptions, serveNbd } from './nbd/server.ts';
export { type CheckForOptions, type ConsumerReport, checkFor } from './profiles/check-for.ts';
export { consumerNamed, consumers } from './profiles/consumers.ts';
export {
  type ChosenForm,
  type Consumer,
  type ConsumerFinding,
  type ConsumerForm,
  type FormatCheck,
  type FormWish,
  formFor,
  requireSizeFor,
  type SizeLimits,
} from './profiles/profile.ts';
export { patchedDisk } from './repair/patched-disk.ts';
export { repairedSource } from './repair/repaired-source.ts';
export { AllocationMap } from './view/allocation-map.ts';
export type { BlockPlacement } from './view/block-placement.ts';
export type { ImageStream, StreamChunk, StreamRunOptions } from './view/image-stream.ts';
export { type Layout, type Piece, pieceLength } from './view/layout.ts';
export type { StoredUnits } from './view/stored-units.ts';
export { readZeroExtended, viewOfLayout } from './view/view.ts';
export type { WrapperKind } from './wrappers/unpack.ts';
export { unpackChunks } from './wrappers/unpack-chunks.ts';
