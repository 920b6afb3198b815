// Make the calls of a table with grpc-java, and print what came of each: see table.py. The argument is the target.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;

public class Driver {
  static final ObjectMapper JSON = new ObjectMapper();
  static final ScheduledExecutorService CLOCK = Executors.newScheduledThreadPool(1);

  // Messages pass as bytes.
  static final MethodDescriptor.Marshaller<byte[]> BYTES = new MethodDescriptor.Marshaller<>() {
    @Override
    public InputStream stream(byte[] message) {
      return new ByteArrayInputStream(message);
    }

    @Override
    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  };

  static final Map<String, MethodDescriptor.MethodType> KINDS = Map.of(
      "unary", MethodDescriptor.MethodType.UNARY,
      "server", MethodDescriptor.MethodType.SERVER_STREAMING,
      "client", MethodDescriptor.MethodType.CLIENT_STREAMING,
      "bidi", MethodDescriptor.MethodType.BIDI_STREAMING);

  public static void main(String[] arguments) throws Exception {
    ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0])
        .usePlaintext().maxInboundMessageSize(Integer.MAX_VALUE).build();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      System.out.println(JSON.writeValueAsString(outcome(channel, JSON.readTree(line))));
    }
    System.exit(0);
  }

  static Map<String, Object> outcome(ManagedChannel channel, JsonNode call) throws Exception {
    MethodDescriptor<byte[], byte[]> method = MethodDescriptor.newBuilder(BYTES, BYTES)
        .setType(KINDS.get(call.get("kind").asText())).setFullMethodName(call.get("path").asText().substring(1)).build();
    double deadline = call.get("deadline_seconds").asDouble();
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(
        (long) ((deadline == 0 ? 30 : deadline) * 1000), TimeUnit.MILLISECONDS);
    if (call.get("gzip").asBoolean()) {
      options = options.withCompression("gzip");
    }
    ClientCall<byte[], byte[]> running = channel.newCall(method, options);
    Listener listener = new Listener(running, call);
    running.start(listener, metadata(call.get("metadata")));
    running.request(Integer.MAX_VALUE);
    for (JsonNode message : call.get("messages")) {
      running.sendMessage(message.isTextual() ? Base64.getDecoder().decode(message.asText()) : new byte[message.asInt()]);
    }
    if (call.get("cancel_after").asInt() == 0 || call.get("kind").asText().equals("server")) {
      running.halfClose();
    }
    double cancel = call.get("cancel_seconds").asDouble();
    if (cancel > 0) {
      CLOCK.schedule(() -> running.cancel("enough", null), (long) (cancel * 1000), TimeUnit.MILLISECONDS);
    }
    return listener.ended.get(40, TimeUnit.SECONDS);
  }

  static class Listener extends ClientCall.Listener<byte[]> {
    final CompletableFuture<Map<String, Object>> ended = new CompletableFuture<>();
    final List<List<Object>> received = new ArrayList<>();
    final ClientCall<byte[], byte[]> running;
    final JsonNode call;
    Map<String, String> initial = Map.of();

    Listener(ClientCall<byte[], byte[]> running, JsonNode call) {
      this.running = running;
      this.call = call;
    }

    @Override
    public void onHeaders(Metadata headers) {
      initial = shown(headers);
    }

    @Override
    public void onMessage(byte[] message) {
      received.add(told(message));
      if (received.size() == call.get("cancel_after").asInt()) {
        running.cancel("enough", null);
      }
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      Map<String, Object> result = new LinkedHashMap<>();
      result.put("case", call.get("case").asText());
      result.put("code", status.getCode().value());
      result.put("message", status.getDescription() == null ? "" : status.getDescription());
      result.put("received", received);
      result.put("initial", initial);
      result.put("trailing", shown(trailers));
      ended.complete(result);
    }
  }

  static List<Object> told(byte[] message) {
    try {
      byte[] digest = MessageDigest.getInstance("SHA-256").digest(message);
      return List.of(message.length, HexFormat.of().formatHex(digest, 0, 4));
    } catch (java.security.NoSuchAlgorithmException error) {
      throw new IllegalStateException(error);
    }
  }

  static Metadata metadata(JsonNode pairs) {
    Metadata metadata = new Metadata();
    pairs.fields().forEachRemaining(pair -> {
      String value = pair.getValue().asText();
      if (pair.getKey().endsWith("-bin")) {
        metadata.put(Metadata.Key.of(pair.getKey(), Metadata.BINARY_BYTE_MARSHALLER), Base64.getDecoder().decode(value));
      } else {
        metadata.put(Metadata.Key.of(pair.getKey(), Metadata.ASCII_STRING_MARSHALLER), value);
      }
    });
    return metadata;
  }

  static Map<String, String> shown(Metadata metadata) {
    Map<String, String> texts = new TreeMap<>();
    for (String name : metadata.keys()) {
      if (name.endsWith("-bin")) {
        byte[] value = metadata.get(Metadata.Key.of(name, Metadata.BINARY_BYTE_MARSHALLER));
        texts.put(name, Base64.getEncoder().encodeToString(value));
      } else {
        texts.put(name, metadata.get(Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER)));
      }
    }
    return texts;
  }
}
