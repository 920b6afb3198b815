// Be an app and its client through the official JavaScript SDK, as its documentation shows; print one JSON line per case.
//
// APP_ID, APP_PORT and APP_PROTOCOL say who it is and what the SDK shall speak in both directions; DAPR_HTTP_PORT,
// DAPR_GRPC_PORT and DAPR_API_TOKEN are the SDK's own. With an argument "shutdown" it ends the runtime's service to it last.
"use strict";

const assert = require("node:assert/strict");
const {
  CommunicationProtocolEnum,
  DaprPubSubStatusEnum,
  DaprServer,
  HttpMethod,
  LogLevel,
  StateConcurrencyEnum,
  StateConsistencyEnum,
} = require("@dapr/dapr");

const { APP_ID, APP_PORT, APP_PROTOCOL, DAPR_HTTP_PORT, DAPR_GRPC_PORT, DAPR_API_TOKEN } = process.env;
const HTTP = APP_PROTOCOL === "http";
const STORE = "statemem";
const PUBSUB = "pubsub";
const RUN = `${APP_ID}-${process.pid}`;
const SECONDS = 10;
const firstWrite = {
  concurrency: StateConcurrencyEnum.CONCURRENCY_FIRST_WRITE,
  consistency: StateConsistencyEnum.CONSISTENCY_STRONG,
};

// {topic: what handlers were given}
const received = new Map();

const clientOptions = {
  daprHost: "127.0.0.1",
  daprPort: HTTP ? DAPR_HTTP_PORT : DAPR_GRPC_PORT,
  communicationProtocol: HTTP ? CommunicationProtocolEnum.HTTP : CommunicationProtocolEnum.GRPC,
  daprApiToken: DAPR_API_TOKEN || undefined,
  logger: { level: LogLevel.Error, service: { error() {}, warn() {}, info() {}, verbose() {}, debug() {} } },
};

// What the app serves.

function keep(name, status) {
  return async (data) => {
    received.set(name, [...(received.get(name) ?? []), data]);
    return status;
  };
}

async function serve() {
  const server = new DaprServer({
    serverHost: "127.0.0.1",
    serverPort: APP_PORT,
    communicationProtocol: clientOptions.communicationProtocol,
    clientOptions,
    logger: clientOptions.logger,
  });
  const { pubsub, invoker } = server;
  await pubsub.subscribe(PUBSUB, `${RUN}-plain`, keep("plain"));
  await pubsub.subscribe(PUBSUB, `${RUN}-named`, keep("named"), "/somewhere");
  await pubsub.subscribe(PUBSUB, `${RUN}-raw`, keep("raw"), undefined, { rawPayload: true });
  await pubsub.subscribeBulk(PUBSUB, `${RUN}-bulk`, keep("bulk"), { maxMessagesCount: 3, maxAwaitDurationMs: 50 });
  await pubsub.subscribeWithOptions(PUBSUB, `${RUN}-dropped`, {
    callback: keep("dropped", DaprPubSubStatusEnum.DROP),
    deadLetterTopic: `${RUN}-dead`,
  });
  await pubsub.subscribe(PUBSUB, `${RUN}-dead`, keep("dead"));
  await pubsub.subscribeWithOptions(PUBSUB, `${RUN}-routed`, {
    route: { rules: [{ match: 'event.type == "red"', path: "/red" }], default: "/other" },
  });
  pubsub.subscribeToRoute(PUBSUB, `${RUN}-routed`, "/red", keep("red"));
  pubsub.subscribeToRoute(PUBSUB, `${RUN}-routed`, "/other", keep("other"));
  await invoker.listen("greet", async ({ body, headers }) => ({ body: JSON.parse(body), seen: headers?.["x-mine"] }), {
    method: HttpMethod.POST,
  });
  await invoker.listen("ask", async () => ({ answer: 42 }), { method: HttpMethod.GET });
  await server.start();
  return server;
}

async function subscribed(count) {
  const headers = DAPR_API_TOKEN ? { "dapr-api-token": DAPR_API_TOKEN } : {};
  await until(async () => {
    const told = await fetch(`http://127.0.0.1:${DAPR_HTTP_PORT}/v1.0/metadata`, { headers });
    return (await told.json()).subscriptions?.filter((each) => each.topic.startsWith(RUN)).length === count;
  }, "the subscriptions");
}

async function until(condition, what) {
  const deadline = Date.now() + SECONDS * 1000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `${what} did not come: ${JSON.stringify([...received])}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function arrives(name, expected) {
  await until(() => (received.get(name) ?? []).length >= expected.length, name);
  const order = (one, two) => JSON.stringify(one).localeCompare(JSON.stringify(two));
  assert.deepEqual([...received.get(name)].sort(order), [...expected].sort(order));
}

// The HTTP client returns a failure of a save or delete, the gRPC client throws it.
async function failure(call) {
  try {
    return String((await call())?.error ?? "");
  } catch (error) {
    return String(error?.error ?? error);
  }
}

// State.

async function state(client) {
  const [key, other] = [`${RUN}-state`, `${RUN}-text`];
  await client.state.save(STORE, [{ key, value: { a: 1 } }, { key: other, value: "text", metadata: { ttlInSeconds: "60" } }]);
  assert.deepEqual(await client.state.get(STORE, key), { a: 1 });
  assert.equal(await client.state.get(STORE, other, { consistency: StateConsistencyEnum.CONSISTENCY_STRONG }), "text");
  await client.state.delete(STORE, key);
  assert.equal(await client.state.get(STORE, key), "");
}

async function stateEtag(client) {
  const key = `${RUN}-etag`;
  const held = async () => (await client.state.getBulk(STORE, [key]))[0].etag;
  await client.state.save(STORE, [{ key, value: "1" }]);
  const first = await held();
  assert.equal(await failure(() => client.state.save(STORE, [{ key, value: "2", etag: first, options: firstWrite }])), "");
  const stale = await failure(() => client.state.save(STORE, [{ key, value: "3", etag: first, options: firstWrite }]));
  assert.match(stale, HTTP ? /ERR_STATE_SAVE/ : /aborted/i);
  const kept = await failure(() => client.state.delete(STORE, key, { etag: first, ...firstWrite }));
  assert.match(kept, HTTP ? /ERR_STATE_DELETE/ : /aborted/i);
  assert.equal(String(await client.state.get(STORE, key)), "2");
  assert.equal(await failure(async () => client.state.delete(STORE, key, { etag: await held(), ...firstWrite })), "");
  assert.equal(await client.state.get(STORE, key), "");
}

async function stateBulk(client) {
  const keys = [0, 1, 2].map((number) => `${RUN}-bulk-${number}`);
  await client.state.save(STORE, keys.map((key) => ({ key, value: { key } })));
  const found = await client.state.getBulk(STORE, [...keys, `${RUN}-none`], { parallelism: 2 });
  const values = Object.fromEntries(found.map(({ key, data }) => [key, data || null]));
  assert.deepEqual(values, { ...Object.fromEntries(keys.map((key) => [key, { key }])), [`${RUN}-none`]: null });
}

async function stateTransaction(client) {
  const [one, two] = [`${RUN}-one`, `${RUN}-two`];
  await client.state.save(STORE, [{ key: two, value: "old" }]);
  await client.state.transaction(STORE, [
    { operation: "upsert", request: { key: one, value: "new" } },
    { operation: "delete", request: { key: two } },
  ]);
  assert.equal(await client.state.get(STORE, one), "new");
  assert.equal(await client.state.get(STORE, two), "");
}

async function stateRefusals(client) {
  const unknown = await failure(() => client.state.get("nostore", "k"));
  assert.match(unknown, HTTP ? /ERR_STATE_STORE_NOT_FOUND/ : /invalid_argument.*state store nostore is not found/);
  const query = await failure(() => client.state.query(STORE, { filter: {}, sort: [], page: { limit: 1 } }));
  assert.match(query, /does not support querying/);
}

// Pub/sub.

async function publish(client) {
  const topic = `${RUN}-plain`;
  await client.pubsub.publish(PUBSUB, topic, { number: 1 });
  await client.pubsub.publish(PUBSUB, topic, "text");
  await client.pubsub.publish(PUBSUB, topic, { number: 2 }, { contentType: "application/json" });
  await client.pubsub.publish(PUBSUB, topic, {
    specversion: "1.0", type: "mine", source: "js", id: "1", datacontenttype: "application/json", data: { number: 3 },
  });
  await arrives("plain", [{ number: 1 }, "text", { number: 2 }, { number: 3 }]);
}

async function publishToANamedRoute(client) {
  await client.pubsub.publish(PUBSUB, `${RUN}-named`, { named: true });
  await arrives("named", [{ named: true }]);
}

async function publishRawPayload(client) {
  await client.pubsub.publish(PUBSUB, `${RUN}-raw`, { raw: true }, { metadata: { rawPayload: "true" } });
  await arrives("raw", [{ raw: true }]);
}

async function publishByRules(client) {
  await client.pubsub.publish(PUBSUB, `${RUN}-routed`, { n: 1 }, { metadata: { "cloudevent.type": "red" } });
  await client.pubsub.publish(PUBSUB, `${RUN}-routed`, { n: 2 });
  await arrives("red", [{ n: 1 }]);
  await arrives("other", [{ n: 2 }]);
}

async function publishBulk(client) {
  const answer = await client.pubsub.publishBulk(PUBSUB, `${RUN}-bulk`, [
    { n: 1 },
    { entryID: "mine", event: { n: 2 }, contentType: "application/json", metadata: {} },
    "three",
  ]);
  assert.deepEqual(answer, { failedMessages: [] });
  await arrives("bulk", [{ n: 1 }, { n: 2 }, "three"]);
}

async function publishDeadLetter(client) {
  await client.pubsub.publish(PUBSUB, `${RUN}-dropped`, { lost: true });
  await arrives("dropped", [{ lost: true }]);
  await arrives("dead", [{ lost: true }]);
}

async function publishRefusal(client) {
  assert.match(await failure(async () => client.pubsub.publish("nopubsub", "t", {})), /nopubsub is not found/);
  const bulk = await client.pubsub.publishBulk("nopubsub", "t", ["one", "two"]);
  assert.equal(bulk.failedMessages.length, 2);
}

// Invocation, metadata, health.

async function invoke(client) {
  const told = await client.invoker.invoke(APP_ID, "greet", HttpMethod.POST, { name: "x" }, { headers: { "x-mine": "1" } });
  assert.deepEqual(told, HTTP ? { body: { name: "x" }, seen: "1" } : { body: { name: "x" } });
  assert.deepEqual(await client.invoker.invoke(APP_ID, "ask", HttpMethod.GET), { answer: 42 });
}

async function invokeRefusal(client) {
  assert.match(await failure(() => client.invoker.invoke("nobody", "ask", HttpMethod.GET)), /couldn't find service: nobody/);
}

async function metadata(client) {
  assert.ok(await client.metadata.set("from-js", "yes"));
  const told = await client.metadata.get();
  assert.equal(told.id, APP_ID);
  assert.equal(told.extended["from-js"], "yes");
  assert.ok(told.components.some((each) => each.name === STORE && each.type === "state.in-memory"));
}

async function health(client) {
  assert.equal(await client.health.isHealthy(), true);
}

async function shutdown(client) {
  await client.sidecar.shutdown();
  await until(() => fetch(`http://127.0.0.1:${DAPR_HTTP_PORT}/v1.0/healthz`).then(() => false, () => true), "its end");
}

const CASES = [
  state,
  stateEtag,
  stateBulk,
  stateTransaction,
  stateRefusals,
  publish,
  publishToANamedRoute,
  publishRawPayload,
  publishByRules,
  publishBulk,
  publishDeadLetter,
  publishRefusal,
  invoke,
  invokeRefusal,
  metadata,
  health,
];

async function main() {
  const server = await serve();
  await subscribed(7);
  for (const each of process.argv[2] === "shutdown" ? [...CASES, shutdown] : CASES) {
    let failed = "";
    try {
      await each(server.client);
    } catch (error) {
      failed = error?.stack ?? JSON.stringify(error);
    }
    console.log(JSON.stringify({ case: each.name, failure: failed }));
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
