// Make the calls of a table with @grpc/grpc-js, and print what came of each: see table.py. The argument is the target.
"use strict";

const crypto = require("node:crypto");
const readline = require("node:readline");
const grpc = require("../../sdk/js/node_modules/@grpc/grpc-js");

const UNLIMITED = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };
const GZIP = { ...UNLIMITED, "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip };
const same = (bytes) => bytes;

const told = (message) => [message.length, crypto.createHash("sha256").update(message).digest("hex").slice(0, 8)];

function shown(metadata) {
  const texts = {};
  for (const [name, value] of Object.entries(metadata?.getMap() ?? {})) {
    texts[name] = Buffer.isBuffer(value) ? value.toString("base64") : value;
  }
  return texts;
}

function metadataOf(call) {
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(call.metadata)) {
    metadata.set(name, name.endsWith("-bin") ? Buffer.from(value, "base64") : value);
  }
  return metadata;
}

function outcome(client, call) {
  return new Promise((resolve) => {
    const result = { case: call.case, code: 0, message: "", received: [], initial: {}, trailing: {} };
    const options = { deadline: Date.now() + (call.deadline_seconds || 30) * 1000 };
    const messages = call.messages.map((each) => (typeof each === "string" ? Buffer.from(each, "base64") : Buffer.alloc(each)));
    const receive = (message) => {
      result.received.push(told(message));
      if (result.received.length === call.cancel_after) running.cancel();
    };
    const answered = (_error, message) => message && receive(message);
    const start = {
      unary: () => client.makeUnaryRequest(call.path, same, same, messages[0], metadataOf(call), options, answered),
      server: () => client.makeServerStreamRequest(call.path, same, same, messages[0], metadataOf(call), options),
      client: () => client.makeClientStreamRequest(call.path, same, same, metadataOf(call), options, answered),
      bidi: () => client.makeBidiStreamRequest(call.path, same, same, metadataOf(call), options),
    };
    const running = start[call.kind]();
    running.on("metadata", (metadata) => (result.initial = shown(metadata)));
    running.on("error", () => {});
    if (call.kind === "server" || call.kind === "bidi") running.on("data", receive);
    // The status of a unary call comes before its callback: the result is read once both have run.
    running.on("status", ({ code, details, metadata }) => {
      Object.assign(result, { code, message: details, trailing: shown(metadata) });
      setImmediate(() => setImmediate(() => resolve(result)));
    });
    if (call.kind === "client" || call.kind === "bidi") {
      messages.forEach((message) => running.write(message));
      if (!call.cancel_after) running.end();
    }
    if (call.cancel_seconds) setTimeout(() => running.cancel(), call.cancel_seconds * 1000);
  });
}

async function main() {
  const credentials = grpc.credentials.createInsecure();
  const client = new grpc.Client(process.argv[2], credentials, UNLIMITED);
  const squeezing = new grpc.Client(process.argv[2], credentials, GZIP);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const call = JSON.parse(line);
    console.log(JSON.stringify(await outcome(call.gzip ? squeezing : client, call)));
  }
  client.close();
  squeezing.close();
}

main();
