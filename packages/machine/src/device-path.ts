/** Whether the path is one of a device: a disk of the host, not a file. In `/dev/shm` Linux has files. */
export function isDevicePath(path: string): boolean {
  return path.startsWith('/dev/') && !path.startsWith('/dev/shm/');
}
