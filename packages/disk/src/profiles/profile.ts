import { ImageError } from '../errors.ts';
import type { OpenOptions } from '../formats/format.ts';
import type { ByteSource } from '../io/byte-source.ts';

/** What breaks a rule, and where in the file. */
export interface Breach {
  readonly message: string;
  readonly structure: string;
  readonly offsetBytes?: number | undefined;
}

/** What is known of a file of any format. */
export interface FormatFacts {
  /** Undefined where it is not known, or there are several disks. */
  readonly virtualSizeBytes: number | undefined;
  /** Of the file itself. */
  readonly fileLengthBytes: number;
}

/** One demand on a file, by the facts that its format's gatherer finds. */
export interface Rule<Facts> {
  /** Stable name: `qcow2-zero-flags`. */
  readonly id: string;
  breach(facts: Facts): Breach | undefined;
}

/** Rules with the document or the program that demands them. */
export interface Demand<Facts> {
  readonly origin: string;
  readonly rules: readonly Rule<Facts>[];
}

/** A rule of a consumer that a file breaks. */
export interface ConsumerFinding extends Breach {
  readonly rule: string;
  /** Where the rule comes from: a program with its source file, or a document. */
  readonly origin: string;
}

/** How a consumer looks at the files of one format. */
export interface FormatCheck {
  readonly format: string;
  /** Throws what reading the format's structures throws. */
  run(
    source: ByteSource,
    options: OpenOptions,
  ): Promise<{ readonly facts: FormatFacts; readonly findings: readonly ConsumerFinding[] }>;
}

/** A form of file that a consumer takes. */
export interface ConsumerForm {
  readonly format: string;
  /** Values by option name, the one to write first; `any` leaves it to the format. Other options are refused. */
  readonly options: Readonly<Record<string, readonly string[] | 'any'>>;
  /** The one to write first. */
  readonly compressions: readonly ('none' | 'zlib' | 'zstd')[];
}

/** Disk sizes that a consumer takes. */
export interface SizeLimits {
  readonly minimumBytes?: number;
  readonly maximumBytes?: number;
  /** By format: the longest file. */
  readonly fileMaximumBytes?: Readonly<Record<string, number>>;
  readonly origin: string;
}

/** Who an image is for: a hypervisor or a cloud. */
export interface Consumer {
  readonly name: string;
  readonly title: string;
  /** What to write for it, the best first. */
  readonly forms: readonly ConsumerForm[];
  readonly limits?: SizeLimits;
  /** The formats that it takes, with what it demands of them: loaded when a file is checked. */
  checks(): Promise<readonly FormatCheck[]>;
}

/** Binds rules to the facts that they look at. */
export function formatCheck<Facts extends FormatFacts>(
  format: string,
  gather: (source: ByteSource, options: OpenOptions) => Promise<Facts>,
  demands: readonly Demand<Facts>[],
): FormatCheck {
  return {
    format,
    async run(source, options) {
      const facts = await gather(source, options);
      const findings: ConsumerFinding[] = [];
      for (const { origin, rules } of demands) {
        for (const rule of rules) {
          const breach = rule.breach(facts);
          if (breach !== undefined) findings.push({ rule: rule.id, origin, ...breach });
        }
      }
      return { facts, findings };
    },
  };
}

/** A rule that an image breaks by one fact alone. */
export function rule<Facts>(
  id: string,
  structure: string,
  problem: (facts: Facts) => string | undefined,
  offsetOf?: (facts: Facts) => number | undefined,
): Rule<Facts> {
  return {
    id,
    breach(facts) {
      const message = problem(facts);
      return message === undefined ? undefined : { message, structure, offsetBytes: offsetOf?.(facts) };
    },
  };
}

/** What of a form was asked for by name; nothing for the consumer's own choice. */
export interface FormWish {
  readonly format?: string | undefined;
  readonly options?: Readonly<Record<string, string>> | undefined;
  readonly compression?: 'zlib' | 'zstd' | undefined;
}

/** A form with one value for each option: what `planImage` and `convert` take. */
export interface ChosenForm {
  readonly format: string;
  readonly options: Readonly<Record<string, string>>;
  readonly compression: 'zlib' | 'zstd' | undefined;
}

/**
 * The first form of a consumer that a wish does not contradict. A wish may refine: name another format that the
 * consumer takes, or other values that it takes. Throws IMAGE_OPTION for one that the consumer would not take.
 */
export function formFor(consumer: Consumer, wish: FormWish = {}): ChosenForm {
  const forms = consumer.forms.filter(({ format }) => wish.format === undefined || format === wish.format);
  let problem = `${consumer.title} is not known to take ${wish.format} files`;
  let hint = `it takes ${[...new Set(consumer.forms.map(({ format }) => format))].join(', ')}`;
  for (const [index, form] of forms.entries()) {
    const contradiction = contradictionOf(consumer, form, wish);
    if (contradiction === undefined) return chosen(form, wish);
    if (index === 0) ({ problem, hint } = contradiction);
  }
  throw new ImageError('IMAGE_OPTION', problem, { structure: 'consumer', hint });
}

function contradictionOf(
  consumer: Consumer,
  form: ConsumerForm,
  wish: FormWish,
): { problem: string; hint: string } | undefined {
  for (const [name, value] of Object.entries(wish.options ?? {})) {
    const taken = Object.hasOwn(form.options, name) ? form.options[name] : undefined;
    if (taken === 'any' || taken?.includes(value)) continue;
    const others = Object.keys(form.options);
    return {
      problem: `a ${form.format} with ${name}=${value} is not for ${consumer.title}`,
      hint:
        taken !== undefined
          ? `it takes ${name} ${taken.join(', ')}`
          : others.length === 0
            ? 'leave the option away'
            : `leave the option away; those to choose are ${others.join(', ')}`,
    };
  }
  if (form.compressions.includes(wish.compression ?? 'none') || wish.compression === undefined)
    return undefined;
  return {
    problem: `a ${form.format} compressed with ${wish.compression} is not for ${consumer.title}`,
    hint: `it takes compression ${form.compressions.join(', ')}`,
  };
}

function chosen(form: ConsumerForm, wish: FormWish): ChosenForm {
  const options: Record<string, string> = { ...wish.options };
  for (const [name, values] of Object.entries(form.options)) {
    const [first] = values === 'any' ? [] : values;
    if (first !== undefined) options[name] ??= first;
  }
  const [usual] = form.compressions;
  const compression = wish.compression ?? (usual === 'none' ? undefined : usual);
  return { format: form.format, options, compression };
}

/** What is wrong with a disk of this size for a consumer; undefined when nothing is. */
export function sizeProblem({ title, limits }: Consumer, virtualSizeBytes: number): string | undefined {
  const { minimumBytes = 0, maximumBytes = Number.POSITIVE_INFINITY } = limits ?? {};
  if (virtualSizeBytes < minimumBytes) {
    return `${title} takes disks of ${minimumBytes} bytes and more, and this one has ${virtualSizeBytes}`;
  }
  if (virtualSizeBytes > maximumBytes) {
    return `${title} takes disks of ${maximumBytes} bytes at most, and this one has ${virtualSizeBytes}`;
  }
  return undefined;
}

/** What is wrong with a file of this length for a consumer; undefined when nothing is. */
export function fileLengthProblem(
  { title, limits }: Consumer,
  format: string,
  lengthBytes: number,
): string | undefined {
  const maximumBytes = limits?.fileMaximumBytes?.[format];
  if (maximumBytes === undefined || lengthBytes <= maximumBytes) return undefined;
  return `${title} takes ${format} files of ${maximumBytes} bytes at most, and this one has ${lengthBytes}`;
}

/** Throws IMAGE_LIMIT for a disk that a consumer would not take, before anything is written. */
export function requireSizeFor(consumer: Consumer, virtualSizeBytes: number): void {
  const problem = sizeProblem(consumer, virtualSizeBytes);
  if (problem === undefined) return;
  throw new ImageError('IMAGE_LIMIT', problem, {
    structure: 'disk size',
    hint: 'grow or shrink the disk first, or split it inside the guest',
  });
}
