import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { RelaxNGValidator, XmlDocument, xmlCleanupInputProvider } from 'libxml2-wasm';
import { xmlRegisterFsInputProviders } from 'libxml2-wasm/lib/nodejs.mjs';

/** A grammar in Relax NG: what it says against a document, nothing when it is valid. */
export interface Grammar {
  errorsIn(document: string | Uint8Array): string[];
}

/** Loads a grammar from its file, and those that it includes. Documents that are checked get no files. */
export function grammarOf(path: string): Grammar {
  const document = XmlDocument.fromBuffer(readFileSync(path), { url: pathToFileURL(path).href });
  xmlRegisterFsInputProviders();
  const validator = RelaxNGValidator.fromDoc(document);
  xmlCleanupInputProvider();
  return {
    errorsIn(text) {
      const bytes = typeof text === 'string' ? Buffer.from(text) : text;
      const checked = XmlDocument.fromBuffer(bytes);
      try {
        validator.validate(checked);
        return [];
      } catch (error) {
        return [error instanceof Error ? error.message : String(error)];
      } finally {
        checked.dispose();
      }
    },
  };
}

/** libvirt's own grammar of domains, as Debian has it. */
export const libvirtDomainGrammar: string = join('/usr/share/libvirt/schemas', 'domain.rng');
