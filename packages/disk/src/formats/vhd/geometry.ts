/** Cylinders, heads and sectors per track, as the footer holds them. */
export interface ChsGeometry {
  readonly cylinders: number;
  readonly heads: number;
  readonly sectorsPerTrack: number;
}

/** The geometry of a disk of this many sectors (VHD specification, appendix "CHS Calculation"). */
export function geometryOf(sectorCount: number): ChsGeometry {
  const sectors = Math.min(sectorCount, 65535 * 16 * 255);
  if (sectors >= 65535 * 16 * 63) return geometry(sectors, 16, 255);
  const cylindersTimesHeads = Math.floor(sectors / 17);
  const heads = Math.max(4, Math.ceil(cylindersTimesHeads / 1024));
  if (cylindersTimesHeads < heads * 1024 && heads <= 16) return geometry(sectors, heads, 17);
  if (Math.floor(sectors / 31) < 16 * 1024) return geometry(sectors, 16, 31);
  return geometry(sectors, 16, 63);
}

function geometry(sectors: number, heads: number, sectorsPerTrack: number): ChsGeometry {
  return { cylinders: Math.floor(Math.floor(sectors / sectorsPerTrack) / heads), heads, sectorsPerTrack };
}
