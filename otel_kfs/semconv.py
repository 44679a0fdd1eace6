"""Span names, attribute keys and roles: what the write side sets and the read side looks for.

Keys of the OpenTelemetry semantic conventions (v1.44, messaging and HTTP) are spelled out here rather than imported,
because the published package keeps them in its `_incubating` modules, which may move; a test compares them with that
package. Keys that the conventions lack are under `otel_kfs.`.
"""

from __future__ import annotations

from typing import Final

# --- spans ---
SEND_IMAGE: Final = "send image"  # INTERNAL, the sender's root; stamp 1 is its start, over HTTP 4 its end
LATE_START: Final = "late start"  # INTERNAL, in an open loop: from when the image was due until its sender took it up
ENCODE: Final = "encode"  # INTERNAL, image file -> payload (base64 in JSON, unless told otherwise)
RESIZE: Final = "resize"  # INTERNAL, within `encode`: the image is made as small as the model needs it
COMPRESS: Final = "compress"  # INTERNAL, within `encode`: the payload is compressed
RECEIVE: Final = "receive"  # INTERNAL, a model server: from the request's headers to its whole body; stamp 2 is its end
DECODE: Final = "decode"  # INTERNAL, a model server: body -> instances
PREPROCESS: Final = "preprocess"  # INTERNAL, a model's method; stamp 3 is the end of the first one
PREDICT: Final = "predict"  # INTERNAL, a model's method: the request to the predictor, or the model itself
EXPLAIN: Final = "explain"  # INTERNAL, a model's method
POSTPROCESS: Final = "postprocess"  # INTERNAL, a model's method
START_PROGRAM: Final = "start program"  # INTERNAL, of a program under `exec`: from its spawn until it starts its work
NAME_LOOKUP: Final = "name look-up"  # INTERNAL, this and the next seven: parts of a request, by curl's own timings
CONNECT: Final = "connect"
TLS_HANDSHAKE: Final = "TLS handshake"
UPLOAD: Final = "upload"
RECEIVE_ANSWER: Final = "receive answer"
REDIRECTS: Final = "redirects"  # where curl adds up the parts of all requests

MODEL_STEPS: Final = (PREPROCESS, PREDICT, EXPLAIN, POSTPROCESS)


def send(topic: str) -> str:
    """Return the name of a PRODUCER span: from `produce()` to the delivery report."""
    return f"send {topic}"


def poll(topic: str) -> str:
    """Return the name of a CLIENT span: a `poll()` or `consume()` that returned records, linked to their producers."""
    return f"poll {topic}"


def process(topic: str) -> str:
    """Return the name of a CONSUMER span: the user's code handles one record; over Kafka stamp 4 is its end."""
    return f"process {topic}"


def gen_ai(operation: str, model: str | None) -> str:
    """Return the name of a model's call by an OpenAI route: INTERNAL, until the last piece of the answer."""
    return f"{operation} {model}" if model else operation


# --- OpenTelemetry semantic conventions, messaging ---
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_DESTINATION_PARTITION_ID: Final = "messaging.destination.partition.id"  # a string
MESSAGING_CONSUMER_GROUP_NAME: Final = "messaging.consumer.group.name"
MESSAGING_CLIENT_ID: Final = "messaging.client.id"
MESSAGING_BATCH_MESSAGE_COUNT: Final = "messaging.batch.message_count"
MESSAGING_MESSAGE_BODY_SIZE: Final = "messaging.message.body.size"  # bytes
MESSAGING_KAFKA_OFFSET: Final = "messaging.kafka.offset"
MESSAGING_KAFKA_MESSAGE_OFFSET: Final = "messaging.kafka.message.offset"  # its name before v1.27
MESSAGING_KAFKA_MESSAGE_KEY: Final = "messaging.kafka.message.key"  # text keys only
MESSAGING_KAFKA_MESSAGE_TOMBSTONE: Final = "messaging.kafka.message.tombstone"
ERROR_TYPE: Final = "error.type"

KAFKA: Final = "kafka"  # the value of messaging.system
GRPC: Final = "grpc"  # the value of rpc.system.name

# --- OpenTelemetry semantic conventions, HTTP, RPC and resources ---
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_REQUEST_BODY_SIZE: Final = "http.request.body.size"  # bytes
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"  # on a retry's request: 1, 2 ...
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
HTTP_TARGET: Final = "http.target"  # what `url.path` was called
HTTP_URL: Final = "http.url"  # what `url.full` was called
URL_FULL: Final = "url.full"  # without user-info and query
URL_PATH: Final = "url.path"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
PROCESS_EXECUTABLE_NAME: Final = "process.executable.name"  # on the `send image` of a program under `exec`
PROCESS_EXIT_CODE: Final = "process.exit.code"  # the same
RPC_SYSTEM_NAME: Final = "rpc.system.name"
RPC_METHOD: Final = "rpc.method"
RPC_RESPONSE_STATUS_CODE: Final = "rpc.response.status_code"  # by gRPC's name: "OK", "INVALID_ARGUMENT"
SERVICE_NAME: Final = "service.name"
HOST_NAME: Final = "host.name"
HOST_ID: Final = "host.id"
K8S_NODE_NAME: Final = "k8s.node.name"
K8S_POD_NAME: Final = "k8s.pod.name"
CONTAINER_ID: Final = "container.id"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
PROCESS_PID: Final = "process.pid"


# --- OpenTelemetry semantic conventions, generative AI ---
GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_STREAM: Final = "gen_ai.request.stream"  # where it is true
GEN_AI_REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"  # where it is not 1
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_REQUEST_TOP_P: Final = "gen_ai.request.top_p"
GEN_AI_REQUEST_TOP_K: Final = "gen_ai.request.top_k"
GEN_AI_REQUEST_SEED: Final = "gen_ai.request.seed"
GEN_AI_REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
GEN_AI_REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
GEN_AI_REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
GEN_AI_REQUEST_ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"  # of embeddings
GEN_AI_EMBEDDINGS_DIMENSION_COUNT: Final = "gen_ai.embeddings.dimension.count"
GEN_AI_OUTPUT_TYPE: Final = "gen_ai.output.type"  # where the request asks for one: "text" or "json"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"  # s, of a streamed answer
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - of a metric: "input" or "output"
GEN_AI_INPUT_MESSAGES: Final = "gen_ai.input.messages"  # this and the next only where the user asks for them
GEN_AI_OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

CHAT: Final = "chat"  # values of gen_ai.operation.name
TEXT_COMPLETION: Final = "text_completion"
EMBEDDINGS: Final = "embeddings"
RERANK: Final = "rerank"  # the conventions have no word for it
GENERATE_CONTENT: Final = "generate_content"  # of other programs' clients
ASKS_A_MODEL: Final = (CHAT, TEXT_COMPLETION, EMBEDDINGS, RERANK, GENERATE_CONTENT)  # those of a request to a model
# By which values of which attributes a client's span says that it is a request to a model: by the conventions,
# OpenLLMetry's before it had those, and OpenInference's, whose spans are all INTERNAL.
CLIENTS_OF_MODELS: Final = {
    GEN_AI_OPERATION_NAME: ASKS_A_MODEL,
    "llm.request.type": ("chat", "completion", "embedding", "rerank"),
    "openinference.span.kind": ("LLM", "EMBEDDING", "RERANKER"),
}

# --- ours ---
TRANSPORT: Final = "otel_kfs.transport"  # on `send image`: "http" or "kafka"
RUN_ID: Final = "otel_kfs.run.id"  # on `send image`: which measurement it belongs to
SEQUENCE: Final = "otel_kfs.sequence"  # on `send image`: 0, 1, 2 ... within its sender
WARMUP: Final = "otel_kfs.warmup"  # on `send image`: true where the tables leave it out
IMAGE_SIZE: Final = "otel_kfs.image.size"  # on `send image`: bytes of the image file
PAYLOAD_SIZE: Final = "otel_kfs.payload.size"  # on `send image`: bytes sent
ENCODING: Final = "otel_kfs.encoding"  # on `send image`: how the image was encoded; absent: base64 in JSON
COMPRESSION: Final = "otel_kfs.compression"  # on `send image`: of the payload; absent: none
CELL: Final = "otel_kfs.cell"  # on `send image`: an experiment's label for one combination of settings
ROLE: Final = "otel_kfs.role"  # on a model's spans: "transformer" or "predictor"
MODEL_NAME: Final = "otel_kfs.model.name"  # on a model's spans
RESPONSE_CHUNKS: Final = "otel_kfs.response.chunks"  # on a model's span whose answer came in pieces: how many
ACKNOWLEDGED: Final = "otel_kfs.acknowledged"  # on `send T`: false where the broker's acknowledgement can't be seen
RECORD_TIMESTAMP: Final = "otel_kfs.record.timestamp"  # on `process`: the record's own, ms since the epoch
RECORD_TIMESTAMP_TYPE: Final = "otel_kfs.record.timestamp.type"  # on `process`: "CreateTime" or "LogAppendTime"
REQUEST_QUEUE_TIME: Final = (
    "otel_kfs.request.queue_time"  # on `receive`: ms that a request was there before its server looked, above 10
)
QUEUE_TIME: Final = "otel_kfs.queue.time"  # on `process`: ms from the record's timestamp to the start of processing
DELIVERY_ATTEMPT: Final = "otel_kfs.delivery.attempt"  # on the bridge's `process`: above 1 for a possible redelivery
OUTCOME: Final = "otel_kfs.outcome"  # on the bridge's `process`: what became of the record
CONTEXT_TRUSTED: Final = "otel_kfs.context.trusted"  # on `process` and its link: false where headers are not trusted

HTTP: Final = "http"
TRANSFORMER: Final = "transformer"
PREDICTOR: Final = "predictor"

# --- environment ---
ENV_TRACES_FILE: Final = (
    "OTEL_KFS_TRACES_FILE"  # a path: write spans there as OTLP-JSON lines instead of exporting them
)

ENV_POLL_SPANS: Final = (
    "OTEL_KFS_POLL_SPANS"  # true: polls that brought nothing but records of other traces are traces of their own, too
)

ENV_MODEL_URL: Final = "OTEL_KFS_MODEL_URL"  # the bridge's --url, for one that contains user and password

# --- model servers of others ---
# Their spans' names: Triton's, vLLM's.
MODEL_SERVERS_SPANS: Final = ("InferRequest", "llm_request")
# Routes by which models are asked, in a span's name or the path of a URL; in a name its variables are in braces. Those
# of which a word alone would say too little stand where a path begins. Sources: the Open Inference Protocol and
# KServe's V1 protocol, TensorFlow Serving's REST and gRPC, OpenAI's API (as KServe, vLLM and others serve it),
# TorchServe's inference API, Seldon's first protocol, SageMaker's containers (MLflow's too), Text Generation Inference.
MODEL_ROUTE: Final = (
    r"/v1/models/[^/ ]+(?:/(?:versions|labels)/[^/ ]+)?:(?:predict|explain|classify|regress)\b"
    r"|/v2/models/[^/ ]+(?:/versions/[^/ ]+)?/(?:infer|generate)(?:_stream)?\b"
    r"|/openai/v1/|/chat/completions\b|/v1/(?:completions|embeddings|responses|rerank)\b"
    r"|/api/v[01][^/ ]+/predictions\b"
    r"|(?:^| |://[^/ ]+)/(?:predictions|explanations|wfpredict)/[^/ ]"
    r"|(?:^| |://[^/ ]+)/(?:invocations|generate|generate_stream)(?:$|[? ])"
    r"|\bGRPCInferenceService/Model(?:Stream)?Infer\b"
    r"|\bPredictionService/Predict\b|\bInferenceAPIsService/(?:Stream)?Predictions\b"
    r"|\b(?:SageMaker ?Runtime\WInvokeEndpoint|Bedrock ?Runtime\W(?:InvokeModel|Converse))"
)
ROUTE_KEYS: Final = (
    *(HTTP_ROUTE, URL_FULL, URL_PATH, HTTP_TARGET, HTTP_URL),
    "http.path",  # of Zipkin's libraries
    "uri",  # Spring's: the template of a path
)
# How large a body is, by the names of now and of before the conventions were stable.
BODY_SIZE_KEYS: Final = (
    HTTP_REQUEST_BODY_SIZE,
    MESSAGING_MESSAGE_BODY_SIZE,
    "http.request_content_length",
    "messaging.message_payload_size_bytes",
)

# How long a request took in each phase, s: vLLM's.
GEN_AI_LATENCIES: Final = (
    "gen_ai.latency.time_in_queue",
    "gen_ai.latency.time_in_model_prefill",
    "gen_ai.latency.time_in_model_decode",
    "gen_ai.latency.time_to_first_token",
)

# What other programs call what the tables are made of, besides: OpenTelemetry's instrumentations of ASGI and Kafka's
# Java clients, Envoy, vLLM, Zipkin's libraries, Spring, OpenLLMetry, OpenInference.
OF_OTHERS: Final = frozenset(
    {
        "asgi.event.type",
        "error",
        *GEN_AI_LATENCIES,
        "http.path",
        "http.request_content_length",
        "messaging.message_payload_size_bytes",
        "messaging.kafka.consumer.group",
        *CLIENTS_OF_MODELS,
        "uri",
    }
)

# The attributes that the tables are made of.
READ = OF_OTHERS | frozenset(
    {
        ACKNOWLEDGED,
        CELL,
        COMPRESSION,
        DELIVERY_ATTEMPT,
        ENCODING,
        GEN_AI_OPERATION_NAME,
        GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
        HTTP_REQUEST_BODY_SIZE,
        HTTP_ROUTE,
        HTTP_TARGET,
        HTTP_URL,
        IMAGE_SIZE,
        MESSAGING_BATCH_MESSAGE_COUNT,
        MESSAGING_CONSUMER_GROUP_NAME,
        MESSAGING_KAFKA_MESSAGE_OFFSET,
        MESSAGING_KAFKA_OFFSET,
        MESSAGING_MESSAGE_BODY_SIZE,
        MESSAGING_SYSTEM,
        PAYLOAD_SIZE,
        PROCESS_EXECUTABLE_NAME,
        REQUEST_QUEUE_TIME,
        ROLE,
        RUN_ID,
        TRANSPORT,
        URL_FULL,
        URL_PATH,
        WARMUP,
    }
)

# The events that the tables are made of: Triton's, which part what it did with a request.
READ_EVENTS = frozenset(
    {
        "HTTP_RECV_START",
        "HTTP_RECV_END",
        "HTTP_SEND_START",
        "QUEUE_START",
        "COMPUTE_INPUT_END",
        "COMPUTE_OUTPUT_START",
    }
)
