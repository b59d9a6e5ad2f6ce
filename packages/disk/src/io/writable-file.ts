/** A file that is read and written at any offset, and stays under its name. */
export interface WritableFile {
  readonly name: string;
  /** As it is now; grows as it is written to. */
  lengthBytes(): Promise<number>;
  /** Fills all of `into`. Throws StoreError when the file ends before. */
  read(offsetBytes: number, into: Uint8Array): Promise<void>;
  /** Throws StoreError, with STORE_FULL when there is no room. */
  write(offsetBytes: number, bytes: Uint8Array): Promise<void>;
  /** Makes all writes that have settled durable. */
  sync(): Promise<void>;
  close(): Promise<void>;
}
