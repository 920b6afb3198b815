// The second app: mailer, in JavaScript by the official Dapr SDK. It handles events of the topic `orders` and calls of `greeting`.
const { DaprServer, HttpMethod } = require("@dapr/dapr");

async function main() {
  const server = new DaprServer({
    serverHost: "127.0.0.1",
    serverPort: process.env.APP_PORT,
    clientOptions: {
      daprHost: "127.0.0.1",
      daprPort: process.env.DAPR_HTTP_PORT,
      daprApiToken: process.env.DAPR_API_TOKEN,
    },
  });
  await server.pubsub.subscribe("pubsub", "orders", async (order) => {
    console.log(`mailer: handled the event ${JSON.stringify(order)}`);
  });
  await server.invoker.listen(
    "greeting",
    async (call) => ({ greeting: `hello ${JSON.parse(call.body).name}, this is JavaScript` }),
    { method: HttpMethod.POST },
  );
  await server.start();
  console.log("mailer: listens");
}

process.on("SIGTERM", () => process.exit(0));
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
