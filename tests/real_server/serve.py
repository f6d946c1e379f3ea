"""llama.cpp's HTTP server, from the package `xllamacpp`.

``python -m tests.real_server.serve MODEL KEY PREDICT CONTEXT SLOTS PORT`` writes its URL and serves until its
standard input is closed. Its log goes to standard error, which pytest shows with a test that fails.
"""

import sys

import xllamacpp


def main(model: str, key: str, *numbers: str) -> None:
    """Serve until standard input is closed."""
    predict, context, slots, port = map(int, numbers)
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.port, params.api_keys = port, [key]
    params.n_predict, params.n_ctx, params.n_parallel = predict, context * slots, slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.n_threads_http = 8
    params.endpoint_metrics = True
    params.fit_params = params.ui = params.warmup = False
    # A token's odds are the model's alone.
    params.sampling.temp, params.sampling.top_k = 1.0, 0
    params.sampling.top_p, params.sampling.min_p = 1.0, 0.0
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
