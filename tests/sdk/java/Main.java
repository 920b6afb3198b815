// Use a runtime through the official Java SDK's client, as its documentation shows; print one JSON line per case.
//
// DAPR_HTTP_PORT, DAPR_GRPC_PORT, DAPR_HTTP_ENDPOINT, DAPR_GRPC_ENDPOINT and DAPR_API_TOKEN are the SDK's own variables.
// With an argument "shutdown" it ends the runtime's service to it last.

import com.fasterxml.jackson.databind.ObjectMapper;
import io.dapr.client.DaprClient;
import io.dapr.client.DaprClientBuilder;
import io.dapr.client.DaprPreviewClient;
import io.dapr.client.SubscriptionListener;
import io.dapr.client.domain.BulkPublishEntry;
import io.dapr.client.domain.BulkPublishRequest;
import io.dapr.client.domain.CloudEvent;
import io.dapr.client.domain.HttpExtension;
import io.dapr.client.domain.PublishEventRequest;
import io.dapr.client.domain.State;
import io.dapr.client.domain.StateOptions;
import io.dapr.client.domain.TransactionalStateOperation;
import io.dapr.exceptions.DaprException;
import io.dapr.utils.TypeRef;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import reactor.core.publisher.Mono;

public class Main {
  static final String STORE = "statemem";
  static final String PUBSUB = "pubsub";
  static final String RUN = "java-" + System.nanoTime();
  static final StateOptions FIRST_WRITE =
      new StateOptions(StateOptions.Consistency.STRONG, StateOptions.Concurrency.FIRST_WRITE);

  interface SdkCase {
    void run(DaprClient client) throws Exception;
  }

  record Named(String name, SdkCase run) {}

  static final List<Named> CASES = List.of(
      new Named("waitForSidecar", Main::waitForSidecar),
      new Named("state", Main::state),
      new Named("etag", Main::etag),
      new Named("bulk", Main::bulk),
      new Named("transaction", Main::transaction),
      new Named("unknownStore", Main::unknownStore),
      new Named("publishAndStream", Main::publishAndStream),
      new Named("answersOfAStream", Main::answersOfAStream),
      new Named("bulkPublish", Main::bulkPublish),
      new Named("unknownPubsub", Main::unknownPubsub),
      new Named("invoke", Main::invoke),
      new Named("invokeAMissingMethod", Main::invokeAMissingMethod),
      new Named("metadata", Main::metadata));

  public static void main(String[] arguments) throws Exception {
    DaprClient client = new DaprClientBuilder().build();
    for (Named each : CASES) {
      tell(each.name(), attempt(each.run(), client));
    }
    if (arguments.length > 0 && arguments[0].equals("shutdown")) {
      tell("shutdown", attempt(sdk -> sdk.shutdown().block(), client));
    }
    System.exit(0);
  }

  static String attempt(SdkCase run, DaprClient client) {
    try {
      run.run(client);
      return "";
    } catch (Throwable error) {
      StringWriter text = new StringWriter();
      error.printStackTrace(new PrintWriter(text));
      return text.toString();
    }
  }

  static void tell(String name, String failure) throws Exception {
    Map<String, String> line = new TreeMap<>(Map.of("case", name, "failure", failure));
    System.out.println(new ObjectMapper().writeValueAsString(line));
  }

  static void same(Object expected, Object actual) {
    if (!expected.equals(actual)) {
      throw new AssertionError("expected " + expected + ", got " + actual);
    }
  }

  static DaprException refused(Runnable call) {
    try {
      call.run();
    } catch (DaprException error) {
      return error;
    }
    throw new AssertionError("the call was not refused");
  }

  static String get(DaprClient client, String key) {
    return client.getState(STORE, key, String.class).block().getValue();
  }

  static void waitForSidecar(DaprClient client) {
    client.waitForSidecar(10000).block();
  }

  static void state(DaprClient client) {
    String key = RUN + "-state";
    client.saveState(STORE, key, Map.of("a", 1)).block();
    same(Map.of("a", 1), client.getState(STORE, key, new TypeRef<Map<String, Integer>>() {}).block().getValue());
    client.saveState(STORE, key, null, "soon gone", Map.of("ttlInSeconds", "60"), null).block();
    same("soon gone", get(client, key));
    client.deleteState(STORE, key).block();
    same("null", String.valueOf(get(client, key)));
  }

  static void etag(DaprClient client) {
    String key = RUN + "-etag";
    client.saveState(STORE, key, "1").block();
    String held = client.getState(STORE, key, String.class).block().getEtag();
    client.saveState(STORE, key, held, "2", FIRST_WRITE).block();
    DaprException stale = refused(() -> client.saveState(STORE, key, held, "3", FIRST_WRITE).block());
    same("ABORTED", stale.getErrorCode());
    same("ABORTED", refused(() -> client.deleteState(STORE, key, held, FIRST_WRITE).block()).getErrorCode());
    same("2", get(client, key));
  }

  static void bulk(DaprClient client) {
    List<String> keys = List.of(RUN + "-b1", RUN + "-b2", RUN + "-none");
    client.saveBulkState(STORE, List.of(
        new State<>(keys.get(0), "1", null, (StateOptions) null),
        new State<>(keys.get(1), "2", null, FIRST_WRITE))).block();
    Map<String, String> found = new HashMap<>();
    for (State<String> item : client.getBulkState(STORE, keys, String.class).block()) {
      found.put(item.getKey(), String.valueOf(item.getValue()));
    }
    same(Map.of(keys.get(0), "1", keys.get(1), "2", keys.get(2), "null"), found);
  }

  static void transaction(DaprClient client) {
    String one = RUN + "-one";
    String two = RUN + "-two";
    client.saveState(STORE, two, "old").block();
    client.executeStateTransaction(STORE, List.of(
        new TransactionalStateOperation<>(
            TransactionalStateOperation.OperationType.UPSERT, new State<>(one, "new", "")),
        new TransactionalStateOperation<>(
            TransactionalStateOperation.OperationType.DELETE, new State<>(two)))).block();
    same("new", get(client, one));
    same("null", String.valueOf(get(client, two)));
  }

  static void unknownStore(DaprClient client) {
    DaprException error = refused(() -> client.getState("nostore", "k", String.class).block());
    same("INVALID_ARGUMENT", error.getErrorCode());
    same("DAPR_STATE_NOT_FOUND", error.getErrorDetails().get(
        io.dapr.exceptions.DaprErrorDetails.ErrorDetailType.ERROR_INFO, "reason", TypeRef.STRING));
  }

  static Set<String> collect(BlockingQueue<String> received, int count) throws InterruptedException {
    Set<String> found = new TreeSet<>();
    while (found.size() < count) {
      String next = received.poll(10, TimeUnit.SECONDS);
      if (next == null) {
        throw new AssertionError("only " + found + " came");
      }
      found.add(next);
    }
    return found;
  }

  static BlockingQueue<String> subscribed(String topic, SubscriptionListener.Status... answers) throws Exception {
    BlockingQueue<String> received = new LinkedBlockingQueue<>();
    DaprPreviewClient preview = new DaprClientBuilder().buildPreviewClient();
    preview.subscribeToEvents(PUBSUB, topic, new SubscriptionListener<String>() {
      int answered = 0;

      @Override
      public Mono<Status> onEvent(CloudEvent<String> event) {
        same(topic, event.getTopic());
        received.add(String.valueOf(event.getData()));
        return Mono.just(answered < answers.length ? answers[answered++] : Status.SUCCESS);
      }

      @Override
      public void onError(RuntimeException error) {
        received.add("error: " + error);
      }
    }, TypeRef.STRING);
    subscriptions(topic);
    return received;
  }

  // The SDK does not say when the runtime has taken a subscription: its metadata does.
  static void subscriptions(String topic) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
    try (DaprClient client = new DaprClientBuilder().build()) {
      while (client.getMetadata().block().getSubscriptions().stream().noneMatch(each -> each.getTopic().equals(topic))) {
        if (System.nanoTime() > deadline) {
          throw new AssertionError("no subscription to " + topic);
        }
        Thread.sleep(10);
      }
    }
  }

  static void publishAndStream(DaprClient client) throws Exception {
    String topic = RUN + "-stream";
    BlockingQueue<String> received = subscribed(topic);
    client.publishEvent(PUBSUB, topic, "one").block();
    client.publishEvent(PUBSUB, topic, "two", Map.of("ttlInSeconds", "60")).block();
    client.publishEvent(new PublishEventRequest(PUBSUB, topic, "three").setContentType("application/json")).block();
    same(new TreeSet<>(List.of("one", "two", "three")), collect(received, 3));
  }

  static void answersOfAStream(DaprClient client) throws Exception {
    String topic = RUN + "-answers";
    BlockingQueue<String> received = subscribed(
        topic, SubscriptionListener.Status.DROP, SubscriptionListener.Status.RETRY, SubscriptionListener.Status.SUCCESS);
    for (String text : List.of("dropped", "retried", "taken")) {
      client.publishEvent(PUBSUB, topic, text).block();
    }
    same(new TreeSet<>(List.of("dropped", "retried", "taken")), collect(received, 3));
  }

  static void bulkPublish(DaprClient client) throws Exception {
    String topic = RUN + "-bulk";
    BlockingQueue<String> received = subscribed(topic);
    DaprPreviewClient preview = new DaprClientBuilder().buildPreviewClient();
    same(List.of(), preview.publishEvents(PUBSUB, topic, "text/plain", Arrays.asList("one", "two")).block()
        .getFailedEntries());
    BulkPublishEntry<String> entry = new BulkPublishEntry<>("mine", "three", "text/plain", Map.of());
    same(List.of(), client.publishEvents(new BulkPublishRequest<>(PUBSUB, topic, List.of(entry))).block()
        .getFailedEntries());
    same(3, collect(received, 3).size());
  }

  static void unknownPubsub(DaprClient client) {
    DaprException error = refused(() -> client.publishEvent("nopubsub", "t", "x").block());
    same("INVALID_ARGUMENT", error.getErrorCode());
  }

  static void invoke(DaprClient client) {
    Map<String, Object> seen = client.invokeMethod(
        "kitapp", "echo/there", Map.of("name", "x"), HttpExtension.POST, Map.of("x-mine", "1"),
        new TypeRef<Map<String, Object>>() {}).block();
    same("POST", seen.get("method"));
    same("/echo/there", seen.get("path"));
    same("{\"name\":\"x\"}", seen.get("body"));
    same("1", ((Map<?, ?>) seen.get("headers")).get("x-mine"));
  }

  static void invokeAMissingMethod(DaprClient client) {
    DaprException error =
        refused(() -> client.invokeMethod("kitapp", "status/404", HttpExtension.GET, Map.of(), String.class).block());
    same(404, error.getHttpStatusCode());
  }

  static void metadata(DaprClient client) {
    var told = client.getMetadata().block();
    same("kitapp", told.getId());
    same(true, told.getComponents().stream().anyMatch(each -> each.getName().equals(STORE)));
  }
}
