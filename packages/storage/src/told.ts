import { storeError } from '@gantry/disk';

/** The outcome of a call of the file system, its failure told as a StoreError about `where`. */
export function told<Result>(where: string, call: Promise<Result>): Promise<Result> {
  return call.catch((error: unknown) => {
    throw storeError(error, where);
  });
}
