import { printable } from './printable.ts';

export interface Column<Item> {
  readonly title: string;
  readonly align?: 'right';
  value(item: Item): string;
}

/** Items below the columns' titles, each column as wide as its widest value. */
export function tableText<Item>(items: readonly Item[], columns: readonly Column<Item>[]): string {
  const rows = items.map((item) => columns.map((column) => printable(column.value(item))));
  const lines = [columns.map((column) => column.title), ...rows];
  const widths = columns.map((_, index) =>
    lines.reduce((width, row) => Math.max(width, row[index]?.length ?? 0), 0),
  );
  const cell = (text: string, index: number) =>
    columns[index]?.align === 'right' ? text.padStart(widths[index] ?? 0) : text.padEnd(widths[index] ?? 0);
  return lines.map((row) => `${row.map(cell).join('  ').trimEnd()}\n`).join('');
}
