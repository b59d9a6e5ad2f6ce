/**
 * Where the data blocks of an uncompressed layout stand in its file: a function of their order alone. With it,
 * data is copied in one pass, and the metadata, made from the map that the pass found, is written last.
 */
export type BlockPlacement =
  /** Every block stands where it stands on the disk, `startBytes` into the file: raw, fixed forms. */
  | { readonly kind: 'identity'; readonly blockBytes: number; readonly startBytes: number }
  /**
   * Used blocks follow each other in guest order, `strideBytes` apart. The block with `rank` used ones before it
   * stands at `startBytes + rank * strideBytes`, plus `groupBytes` for every group of `groupBlocks` blocks that
   * has a used block, from the first to its own: the tables that stand between the data.
   */
  | {
      readonly kind: 'packed';
      readonly blockBytes: number;
      readonly startBytes: number;
      readonly strideBytes: number;
      readonly groupBlocks?: number;
      readonly groupBytes?: number;
    };
