/**
 * Nest's types, for a door that opens without Nest as well: whoever has none installed sees `any` instead of an error.
 * Each comment speaks for the next line alone.
 */

/** @ts-ignore Nest is optional. */
export type NestApplication = import('@nestjs/common').INestApplication;

/** @ts-ignore Nest is optional. */
export type NestMicroservice = import('@nestjs/common').INestMicroservice;

/** @ts-ignore Nest is optional. */
export type NestHybridOptions = import('@nestjs/common').NestHybridApplicationOptions;

/** @ts-ignore Nest is optional. */
export type NestModule = import('@nestjs/common').Type | import('@nestjs/common').DynamicModule;

/** @ts-ignore Nest is optional. */
export type NestModuleBuilder = import('@nestjs/testing').TestingModuleBuilder;
