import type { Findings } from '../findings.ts';
import type { GuestMount } from '../report.ts';
import type { FilledVolume } from '../volumes/volume.ts';

const LINE_COUNT_MAX = 256;
/** What no disk is behind. */
const pseudoTypes =
  /^(?:proc|sysfs|tmpfs|devpts|devtmpfs|none|cgroup2?|debugfs|overlay|bind|securityfs|efivarfs|fuse\..*)$/;
const networkTypes = /^(?:nfs4?|cifs|smb3?|ceph|glusterfs|lustre|9p|virtiofs|afs)$/;

export interface FstabLine extends GuestMount {
  readonly options: readonly string[];
  readonly volume?: FilledVolume;
}

/** The lines of fstab(5) that name a disk. */
export function parseFstab(text: string, volumes: readonly FilledVolume[]): FstabLine[] {
  const lines: FstabLine[] = [];
  for (const line of text.split('\n').slice(0, LINE_COUNT_MAX)) {
    const [device, path, type, options = ''] = line.slice(0, 1024).trim().split(/\s+/).map(unescaped);
    if (device === undefined || device.startsWith('#') || path === undefined || type === undefined) continue;
    if (pseudoTypes.test(type) || networkTypes.test(type)) continue;
    const volume = volumeNamed(device, volumes);
    lines.push({
      path,
      device,
      type,
      options: options.split(','),
      ...(volume !== undefined && { where: volume.where, volume }),
    });
  }
  return lines;
}

/** What of it holds on this machine only, or needs another disk. */
export function judgeFstab(lines: readonly FstabLine[], where: string, findings: Findings): void {
  for (const { device, path, options, volume, type } of lines) {
    const isNeeded = !options.includes('nofail') && !options.includes('noauto') && type !== 'swap';
    const place = `${where}: /etc/fstab`;
    if (/^\/dev\/(?:sd|hd|vd|xvd|nvme|mmcblk)/.test(device)) {
      findings.add({
        severity: isNeeded ? 'warning' : 'note',
        code: 'FSTAB_DEVICE_NAME',
        where: place,
        message: `${path} is mounted from ${device}, a name that another hypervisor's disks do not have`,
        hint: `write UUID=… in its place${volume?.content.uuid === undefined ? '' : `: UUID=${volume.content.uuid}`}`,
      });
    } else if (/^\/dev\/disk\/by-(?:path|id)\//.test(device)) {
      findings.add({
        severity: isNeeded ? 'warning' : 'note',
        code: 'FSTAB_DEVICE_PATH',
        where: place,
        message: `${path} is mounted from ${device}, a name that depends on the machine's slots`,
        hint: 'write UUID=… in its place',
      });
    } else if (
      volume === undefined &&
      isNeeded &&
      /^(?:UUID|LABEL|PARTUUID|PARTLABEL)=|^\/dev\/(?:mapper|disk)\//.test(device)
    ) {
      findings.add({
        severity: 'warning',
        code: 'MOUNT_NOT_ON_DISK',
        where: place,
        message: `${path} is mounted from ${device}, which is not on this disk`,
        hint: 'bring the other disk along, or add nofail: else the system waits for it and stops at an emergency prompt',
      });
    }
  }
}

/** The volume of this disk that a name of fstab, or of the kernel's `root=`, means. */
export function volumeNamed(device: string, volumes: readonly FilledVolume[]): FilledVolume | undefined {
  const [, tag = '', quoted = ''] =
    /^(UUID|LABEL|PARTUUID|PARTLABEL)=(.*)$/.exec(device) ??
    /^\/dev\/disk\/by-(uuid|label|partuuid|partlabel)\/(.*)$/.exec(device) ??
    [];
  const value = quoted.replace(/^"(.*)"$/, '$1');
  switch (tag.toUpperCase()) {
    case 'UUID':
      return volumes.find(({ content }) => content.uuid?.toLowerCase() === value.toLowerCase());
    case 'LABEL':
      return volumes.find(({ content }) => content.label === value);
    case 'PARTUUID':
      return volumes.find(({ partitionUuid }) => partitionUuid === value.toLowerCase());
    case 'PARTLABEL':
      return volumes.find(({ partitionName }) => partitionName === value);
  }
  const [, mapped] = /^\/dev\/mapper\/(.+)$/.exec(device) ?? [];
  if (mapped !== undefined)
    return volumes.find(({ logicalName }) => logicalName !== undefined && mapperName(logicalName) === mapped);
  const [, plain] = /^\/dev\/([^/]+\/[^/]+)$/.exec(device) ?? [];
  if (plain !== undefined) return volumes.find(({ logicalName }) => logicalName === plain);
  const [, number] = /^\/dev\/(?:(?:sd|hd|vd|xvd)a|nvme0n1p|mmcblk0p)(\d{1,3})$/.exec(device) ?? [];
  return number === undefined
    ? undefined
    : volumes.find(({ partitionNumber }) => partitionNumber === Number(number));
}

/** Dashes of a name are doubled, since one stands between the names. */
function mapperName(logicalName: string): string {
  return logicalName.replaceAll('-', '--').replace('/', '-');
}

/** `\040` is a space. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, code) => String.fromCharCode(Number.parseInt(code, 8)));
}
