/** A process with an application that answers: it closes that, and then has nothing left to do. */
import 'reflect-metadata';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { GenRpcServer } from 'nestjs-gen-rpc';

const { SECRET, HOW } = process.env;

class Empty {}
Module({})(Empty);

const strategy = new GenRpcServer({ name: 'closes@127.0.0.1', secret: SECRET, listen: { port: 0 } });
const app = await NestFactory.createMicroservice(Empty, { strategy, logger: false, abortOnError: false });

if (HOW === 'was listening still') app.listen().catch(() => {});
else if (HOW !== 'never listened') await app.listen();
if (HOW === 'was draining still') void strategy.close();
await Promise.all([app.close(), strategy.close()]);
await app.close();
console.log('closed');
