/** A machine of any hypervisor has fewer devices; the descriptor of 1 MiB could hold some thousand. */
export const ITEM_COUNT_MAX = 2048;
