/** A process with an application that answers, and tells who started it on which port. */
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { MessagePattern } from '@nestjs/microservices';
import { GenRpcServer } from 'nestjs-gen-rpc';

const { NAME, SECRET, PORT } = process.env;

class Answers {
  echo(value) {
    return value;
  }

  never() {
    process.send('called');
    return new Promise(() => {});
  }
}

/** What decorators do, where the language has none. */
for (const method of ['echo', 'never']) {
  MessagePattern(method)(Answers.prototype, method, Object.getOwnPropertyDescriptor(Answers.prototype, method));
}
Controller()(Answers);

class AnswersModule {}
Module({ controllers: [Answers] })(AnswersModule);

const strategy = new GenRpcServer({ name: NAME, secret: SECRET, listen: { port: Number(PORT) } });
const app = await NestFactory.createMicroservice(AnswersModule, { strategy, logger: false });
const { port } = await app.listen();
process.send(port);
process.on('disconnect', () => process.exit());
