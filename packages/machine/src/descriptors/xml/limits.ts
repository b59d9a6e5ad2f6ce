/** Descriptors are written by people and small programs; libvirt's largest are some tens of KiB. */
export const XML_BYTES_MAX: number = 1024 * 1024;

/** A domain of libvirt nests up to about 10 deep; deeper trees only cost memory. */
export const XML_DEPTH_MAX = 32;

/** Of a message about a place, which may quote the document: as many as people read. */
export const MESSAGE_CHARACTERS_MAX = 1000;

/** Nobody reads more, and a document of 1 MiB could give a warning for every few bytes. */
export const WARNING_COUNT_MAX = 1000;
