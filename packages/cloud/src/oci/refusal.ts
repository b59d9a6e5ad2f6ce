import { StoreError, type StoreErrorCode } from '@gantry/disk';

/** An answer of OCI that is no success, in the engine's codes, with OCI's own beside it. */
export class OciRefusal extends StoreError {
  readonly statusCode: number;
  /** `NotAuthorizedOrNotFound`, `LimitExceeded`; empty when the answer had none. */
  readonly serviceCode: string;

  constructor(answer: OciAnswer) {
    const { operation, statusCode, serviceCode, message, where } = answer;
    const code = codeOf(statusCode, serviceCode);
    super(code, `OCI refused ${operation}: ${message} (${`${statusCode} ${serviceCode}`.trim()})`, {
      where,
      hint: hintOf(code, statusCode, serviceCode),
    });
    this.statusCode = statusCode;
    this.serviceCode = serviceCode;
  }
}

export interface OciAnswer {
  readonly operation: string;
  readonly statusCode: number;
  readonly serviceCode: string;
  readonly message: string;
  /** Method and address, and OCI's id of the request, which its support asks for. */
  readonly where: string;
}

/** True for an answer that says: not there, or not for this user. OCI does not tell the two apart. */
export function isNotFound(error: unknown): boolean {
  return error instanceof OciRefusal && error.statusCode === 404;
}

/**
 * True for answers that may be others a moment later: those on which Oracle's SDKs try again ("Retries" in the SDK's
 * documentation), and that another operation is at work on the image, on which they do not.
 */
export function isPassing(statusCode: number, serviceCode: string, message: string): boolean {
  if ([500, 502, 503, 504].includes(statusCode)) return true;
  if (statusCode === 429) return serviceCode === 'TooManyRequests';
  if (statusCode !== 409) return false;
  return serviceCode === 'IncorrectState' || (serviceCode === 'Conflict' && /try again later/i.test(message));
}

function codeOf(statusCode: number, serviceCode: string): StoreErrorCode {
  if (/LimitExceeded|QuotaExceeded/.test(serviceCode)) return 'STORE_FULL';
  if (statusCode === 401 || statusCode === 403) return 'STORE_DENIED';
  if (statusCode === 404) return 'STORE_NOT_FOUND';
  if (statusCode === 412) return 'STORE_CHANGED';
  if (/AlreadyExists/.test(serviceCode)) return 'STORE_EXISTS';
  return statusCode >= 500 || statusCode === 429 ? 'STORE_UNREACHABLE' : 'STORE_REFUSED';
}

function hintOf(code: StoreErrorCode, statusCode: number, serviceCode: string): string | undefined {
  if (statusCode === 401)
    return 'see that the key of the profile is one of the user in it, and that the clock of this machine is right';
  if (statusCode === 404)
    return 'OCI answers the same when the user may not see it: check the id, the region and the policies';
  if (code === 'STORE_FULL') return 'raise the limit or the quota in OCI, or remove what is not needed';
  if (serviceCode === 'InvalidParameter')
    return 'OCI says this of things that the user may not use, too: check names and policies';
  return undefined;
}
