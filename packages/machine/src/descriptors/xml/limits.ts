/** Descriptors are written by people and small programs; libvirt's largest are some tens of KiB. */
export const XML_BYTES_MAX: number = 1024 * 1024;

/** A domain of libvirt nests up to about 10 deep; deeper trees only cost memory. */
export const XML_DEPTH_MAX = 32;
