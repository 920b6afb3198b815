"""daprd's flags: names, kinds and defaults are daprd 1.18's; what each does here is said in our words.

Source: dapr-api.md section 4; `daprd --help` of 1.18.0.
"""

from typing import Final

from noded.sidecar.pflag import Flag, Kind

S, L, I, D, B = Kind.STRING, Kind.STRINGS, Kind.INT, Kind.DURATION, Kind.BOOL  # noqa: E741 (columns of the table)

FLAGS: Final = (
    Flag("app-id", S, "", "Name of the app; required, without dots"),
    Flag("app-port", S, "", "Port where the app listens; without one it only calls"),
    Flag("app-protocol", S, "http", "What the app speaks there: http, https, h2c, grpc or grpcs"),
    Flag("app-channel-address", S, "127.0.0.1", "Host where the app listens"),
    Flag("app-max-concurrency", I, -1, "Calls to the app at one moment; -1 is no limit"),
    Flag("enable-app-health-check", B, False, "Probe the app's health"),
    Flag("app-health-check-path", S, "/healthz", "Where to probe an HTTP app"),
    Flag("app-health-probe-interval", I, 5, "Seconds between two probes"),
    Flag("app-health-probe-timeout", I, 500, "Milliseconds a probe may take"),
    Flag("app-health-threshold", I, 3, "Failed probes that make an app unhealthy"),
    Flag("disable-init-endpoints", L, (), "App endpoints not to ask at start: config, subscribe"),
    Flag("dapr-http-port", S, "3500", "Port of the HTTP API"),
    Flag("dapr-grpc-port", S, "50001", "Port of the gRPC API"),
    Flag("dapr-listen-addresses", S, "", "Addresses of both API ports, separated by commas; empty is all"),
    Flag("unix-domain-socket", S, "", "Directory for Unix sockets, which replace both API ports"),
    Flag("dapr-public-port", S, "", "Port that serves health and metadata only"),
    Flag("dapr-public-listen-address", S, "", "Address of that port"),
    Flag("resources-path", L, (), "Directory of resources; may be repeated"),
    Flag("config", L, (), "File of kind Configuration; may be repeated"),
    Flag("max-body-size", S, "4Mi", "Largest request body, as a quantity"),
    Flag("dapr-graceful-shutdown-seconds", I, 5, "How long the end waits for what is under way"),
    Flag(
        "dapr-block-shutdown-duration", D, 0.0, "How long SIGTERM leaves the APIs open, deliveries ended; off if absent"
    ),
    Flag("enable-metrics", B, True, "Serve Prometheus metrics"),
    Flag("metrics-port", S, "9090", "Port of the metrics"),
    Flag("metrics-listen-address", S, "0.0.0.0", "Address of that port"),  # noqa: S104 (daprd's default)
    Flag("log-level", S, "info", "debug, info, warn, error or fatal"),
    Flag("log-as-json", B, False, "One JSON object per line"),
    Flag("log-file", S, "", "File for the log, in place of standard output"),
    Flag("mode", S, "standalone", "Only standalone is served"),
    Flag("version", B, False, "Print the version and end"),
    Flag("build-info", B, False, "Print the version and what it was built from, and end"),
    Flag("wait", B, False, "Wait until the HTTP API of another daprd answers, and end"),
    Flag("disable-builtin-k8s-secret-store", B, False, "Nothing to disable: there is no such store here"),
    Flag("allowed-origins", S, "", "Origins that CORS allows"),
    Flag("read-buffer-size", S, "4Ki", "Largest header section, as a quantity"),
    Flag("enable-api-logging", B, False, "Log every call of the API"),
    # Accepted; nothing comes of them yet.
    Flag("dapr-internal-grpc-port", S, "", "Port between sidecars", unserved=True),
    Flag("dapr-internal-grpc-listen-address", S, "", "Address of that port", unserved=True),
    Flag("enable-mtls", B, False, "TLS between sidecars", unserved=True),
    Flag("enable-profiling", B, False, "Serve Go profiles", unserved=True),
    Flag("profile-port", S, "7777", "Port of the profiles", unserved=True),
    Flag("placement-host-address", S, "", "Where actor placement is", unserved=True),
    Flag("actors-disseminate-timeout", D, 30.0, "For a round of actor placement", unserved=True),
    Flag("scheduler-host-address", L, (), "Where the scheduler is", unserved=True),
    Flag("scheduler-job-streams", Kind.UINT, 3, "Streams to the scheduler", unserved=True),
    Flag("control-plane-address", S, "", "Where the control plane is", unserved=True),
    Flag("control-plane-namespace", S, "default", "The control plane's namespace", unserved=True),
    Flag("control-plane-trust-domain", S, "localhost", "The control plane's trust domain", unserved=True),
    Flag("sentry-address", S, "", "Where the certificate authority is", unserved=True),
    Flag("sentry-request-jwt-audiences", L, (), "Audiences of the certificate request", unserved=True),
    # Deprecated.
    Flag("components-path", S, "", "", instead="use --resources-path"),
    Flag("app-ssl", B, False, "", instead="use '--app-protocol https|grpcs'"),
    Flag("dapr-http-max-request-size", I, 4, "", instead="use '--max-body-size 4Mi'"),
    Flag("dapr-http-read-buffer-size", I, 4, "", instead="use '--read-buffer-size 4Ki'"),
    Flag("reminders-service", S, "", "", instead="flag no longer has any effect"),
    Flag("actors-service", S, "", "", instead="flag no longer has any effect"),
)
"""In the order of docs/daprd.md."""
