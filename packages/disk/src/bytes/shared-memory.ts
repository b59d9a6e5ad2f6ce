/** Memory that threads can see, where there is such: a page that is not isolated has none, and no threads here. */
export function sharedMemory(lengthBytes: number): ArrayBufferLike {
  return typeof SharedArrayBuffer === 'undefined'
    ? new ArrayBuffer(lengthBytes)
    : new SharedArrayBuffer(lengthBytes);
}
