/** The value of a name that a table itself has: names from documents may be those of every object, `constructor`. */
export function ownValue<Value>(
  table: Readonly<Record<string, Value>>,
  name: string | undefined,
): Value | undefined {
  return name !== undefined && Object.hasOwn(table, name) ? table[name] : undefined;
}
