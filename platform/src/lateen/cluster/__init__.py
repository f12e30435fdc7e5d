"""The platform's processes in a cluster: one image, six commands. Composition roots; nothing else sees all the parts.

| command | what it does | ports | ends |
| --- | --- | --- | --- |
| `lateen api` | management surfaces, and events to functions by id; any number of replicas | 8000, 9090 | when told |
| `lateen gateway` | `/{hash}` and below; 404 for everything else; any number of replicas | 8000, 9090 | when told |
| `lateen controller` | makes the cluster match the table, while it leads; two replicas are enough | 9090 | when told |
| `lateen worker` | asynchronous invocations: queue to functions; any number of replicas | 9090 | when told |
| `lateen migrate` | the table, the bucket, and what a first start needs; again changes nothing | none | by itself |
| `lateen secrets` | the Secret, unless it is there; needs no store | none | by itself |

Port 8000 (`LATEEN_PORT`) is HTTP; 9090 (`LATEEN_OPERATIONS_PORT`) answers `/metrics`, `/health/live` and
`/health/ready` without a key. The last one says whether requests should come here and asks no store; with
`?stores=true` it asks them. A process is alive until something in it has ended for good that it is for.

Exit codes: 0 done, or stopped by SIGTERM or SIGINT; 1 could not (the last line of the log says why; worth another try);
2 a setting is wrong (one line on stderr; the same again until it is changed); 143 SIGTERM before it was up.

Read by all but `secrets`: `AWS_REGION`, `DYNAMODB_TABLE_NAME`, `S3_BUCKET_NAME`, what AWS's SDKs read
(`AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL_S3`, `AWS_CA_BUNDLE`, `AWS_SHARED_CREDENTIALS_FILE`, a web identity …),
`LATEEN_S3_PATH_STYLE`, `LATEEN_FUNCTIONS_CONFIG` (a file; `adapters.kubernetes.config`; not by `migrate`),
`LATEEN_SECRETS` (the folder of the mounted Secret: `master-key`; `admin-token` for `migrate` only), `ENVIRONMENT`,
`LOG_LEVEL`, `LATEEN_LOG_FORMAT`. `LATEEN_RUNTIMES` is set in the image. The root may be read-only; api needs `/tmp` for
code that is on its way to S3.

- api: `LATEEN_URL` (what functions' URLs begin with), `LATEEN_HOSTS` (by which names it may be addressed: the
  Service's, the Ingress's), `CORS_ORIGINS`.
- api, gateway: `LATEEN_HOST` (0.0.0.0), `LATEEN_TRUSTED_PROXIES` (networks, comma-separated, whose
  `X-Forwarded-For` and `-Proto` are believed), `LATEEN_DRAIN_LAG_SECONDS`, `LATEEN_DRAIN_SECONDS`. SIGTERM: unready at
  once, new requests for the lag, what runs for the drain, then the end; grace period = lag + drain + 5 s.
- api, worker: `LATEEN_REDIS_URL_FILE` (a mounted file with the URL of the queue's Redis: `redis://` or `rediss://`), or
  `LATEEN_REDIS_URL` and `LATEEN_REDIS_PASSWORD_FILE`; without one the api refuses asynchronous invocations.
- worker: `WORKER_CONCURRENCY` (10: events at a time), `LATEEN_DRAIN_SECONDS`. SIGTERM: nothing new is taken, what runs
  has the drain, and what is left is handed back to the queue; grace period = drain + 10 s.
- controller: `LATEEN_POD_NAME` (its name in the Lease; the host's name unless given).
- migrate: `LATEEN_CREATE_TABLE=true`, `LATEEN_CREATE_BUCKET=true`; waits `LATEEN_WAIT_SECONDS` (300) for the stores.
- secrets: `LATEEN_SECRET_NAME`, `LATEEN_SECRET_LABELS` (`name=value,…`). The namespace is that of the pod's service
  account, which may `get` and `create` secrets there. A Secret that exists is left as it is; one that lacks a key is
  refused with exit code 1.
"""
