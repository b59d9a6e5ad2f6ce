import { z } from 'zod';
import { errorBody } from './errors.ts';

const bytesBody = (description: string): object => ({
  description,
  content: { 'application/octet-stream': { schema: z.string().meta({ format: 'binary' }) } },
});

/** Describes the answers of a route that ends in sendSource. */
export const sentSource: Readonly<Record<string, unknown>> = {
  200: bytesBody('All bytes'),
  206: bytesBody('The range of bytes that was asked for'),
  304: z.null().describe('The client has this version'),
  412: errorBody.describe('A condition does not hold'),
  416: errorBody.describe('The range lies behind the end'),
  default: errorBody,
};

/** Describes the body of such a route; what arrives is read by requestBody alone. */
export const streamedBody: z.ZodUnknown = z.unknown().describe('The bytes, as they are to be stored');
