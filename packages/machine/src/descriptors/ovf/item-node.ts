import { type XmlNode, xml, xmlIf } from '../xml/write.ts';

/** The items that stand before the devices: processor and memory. */
export const FIRST_DEVICE_ID = 3;

/** A rasd:Item: the schema has the properties in the order of their names. */
export function itemNode(
  id: number,
  type: number,
  name: string,
  properties: Readonly<Record<string, string | number | undefined>>,
  isRequired = true,
): XmlNode {
  const all = { ...properties, ElementName: name, InstanceID: id, ResourceType: type };
  const nodes = Object.entries(all)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => xmlIf(`rasd:${key}`, value));
  return xml('Item', isRequired ? {} : { 'ovf:required': 'false' }, nodes);
}
