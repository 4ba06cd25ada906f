// Calls the gateway by gRPC as a program for Node.js does:
//
//     node infer.js ADDRESS PROTO METHOD [gzip|deflate] <requests.json
//
// The requests are a list: one each for a plain call, all in one stream for a stream. The answers are printed
// as a list in the order they came; one that failed is {"code", "details"}. Bytes are base64 in both.
"use strict";

const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const LIMIT_MS = 30_000;
const [address, proto, method, coding] = process.argv.slice(2);
const requests = JSON.parse(fs.readFileSync(0, "utf8"));

const {inference} = grpc.loadPackageDefinition(loader.loadSync(proto, {
    keepCase: true, longs: Number, bytes: String, defaults: true,
}));
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure(), {
    "grpc.default_compression_algorithm": {gzip: grpc.compressionAlgorithms.gzip,
                                           deflate: grpc.compressionAlgorithms.deflate}[coding] ?? 0,
    "grpc.max_receive_message_length": -1,
});
const failure = (error) => ({code: grpc.status[error.code], details: error.details});
const deadline = () => ({deadline: Date.now() + LIMIT_MS});

const unary = (request) => new Promise((done) => {
    client[method](request, new grpc.Metadata(), deadline(), (error, answer) => done(error ? failure(error) : answer));
});

const stream = () => new Promise((done) => {
    const answers = [];
    const call = client[method](new grpc.Metadata(), deadline());
    call.on("data", (answer) => answers.push(answer));
    call.on("error", (error) => done([...answers, failure(error)]));
    call.on("end", () => done(answers));
    requests.forEach((request) => call.write(request));
    call.end();
});

(async () => {
    const {requestStream} = inference.GRPCInferenceService.service[method];
    const answers = requestStream ? await stream() : await Promise.all(requests.map(unary));
    client.close();
    process.stdout.write(JSON.stringify(answers));
})();
