/** What an option may be, and how the error says so. */
import { IsInt, Max, Min, ValidateBy, ValidateIf } from 'class-validator';
import { MAX_TIMER_MS } from '../ports/clock.js';

/** `expected` is what the error says is allowed. */
export function Matches(matches: (value: unknown) => boolean, expected: string): PropertyDecorator {
  return ValidateBy({ name: 'matches', validator: { validate: matches, defaultMessage: () => expected } });
}

/** May be left out, or `undefined`. Not `null`: class-validator's own `IsOptional` lets that through unseen. */
export function Optional(): PropertyDecorator {
  return ValidateIf((_, value) => value !== undefined);
}

export function Milliseconds(): PropertyDecorator {
  const rule = `whole ms from 1 to ${MAX_TIMER_MS}`;
  return Matches((value) => Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_TIMER_MS, rule);
}

export function MillisecondsOrInfinity(): PropertyDecorator {
  const rule = `whole ms from 1 to ${MAX_TIMER_MS}, or Infinity`;
  const inRange = (value: unknown): boolean => Number.isInteger(value) && Number(value) >= 1;
  return Matches((value) => value === Infinity || (inRange(value) && Number(value) <= MAX_TIMER_MS), rule);
}

export function Host(): PropertyDecorator {
  return Matches(isHost, 'a host name or address');
}

export function Port(least: 0 | 1): PropertyDecorator {
  const rule = `a whole number from ${least} to 65535`;
  return Matches((value) => Number.isInteger(value) && Number(value) >= least && Number(value) <= 65535, rule);
}

export function Count(least: number, most: number): PropertyDecorator {
  const message = `a whole number from ${least} to ${most}`;
  const rules = [IsInt({ message }), Min(least, { message }), Max(most, { message })];
  return (target, key) => rules.forEach((rule) => rule(target, key));
}

/** What proves somebody, or whom to believe. */
export function Pem(many?: 'several'): PropertyDecorator {
  const rule = 'PEM text, a Buffer of it, or the path of a file that holds it';
  return many === undefined ? Matches(isPem, rule) : Matches(arePem, `${rule}; or several of these`);
}

function isPem(value: unknown): boolean {
  return (typeof value === 'string' || value instanceof Uint8Array) && value.length > 0;
}

function arePem(value: unknown): boolean {
  return isPem(value) || (Array.isArray(value) && value.length > 0 && value.every(isPem));
}

export const isHost = (value: unknown): boolean => typeof value === 'string' && /^[A-Za-z0-9_.:-]{1,253}$/.test(value);
export const isText = (value: unknown): boolean => typeof value === 'string';
