// A PLC on node-opcua: connects encrypted, inspects by method, by levels, and watches a node.
// node test_opcua_peers.js URL PKI USER PASSWORD CYCLES; prints one JSON object.
const {
  AttributeIds, ClientMonitoredItem, DataType, MessageSecurityMode, OPCUAClient,
  SecurityPolicy, StatusCodes, TimestampsToReturn, UserTokenType,
} = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");

const [url, pki, userName, password, cycles] = process.argv.slice(2);
const bool = (value) => ({ dataType: DataType.Boolean, value });
const word = (value) => ({ dataType: DataType.UInt16, value });
const long = (value) => ({ dataType: DataType.UInt32, value });

async function main() {
  const certificates = new OPCUACertificateManager({
    rootFolder: pki, automaticallyAcceptUnknownCertificate: true,
  });
  await certificates.initialize();
  const client = OPCUAClient.create({
    applicationName: "plc", clientCertificateManager: certificates, endpointMustExist: false,
    securityMode: MessageSecurityMode.SignAndEncrypt,
    securityPolicy: SecurityPolicy.Basic256Sha256,
    connectionStrategy: { maxRetry: 1, initialDelay: 100 },
  });
  await client.connect(url);
  const session = await client.createSession({ type: UserTokenType.UserName, userName, password });
  await session.readNamespaceArray();
  const index = session.getNamespaceIndex("urn:protoedge:station");
  const id = (name) => `ns=${index};s=flange.${name}`;
  const read = async (...names) =>
    session.read(names.map((name) => ({ nodeId: id(name), attributeId: AttributeIds.Value })));
  const write = async (levels) => {
    const done = await session.write(Object.entries(levels).map(([name, value]) => ({
      nodeId: id(`Control.${name}`), attributeId: AttributeIds.Value, value: { value },
    })));
    if (!done.every((status) => status === StatusCodes.Good)) throw new Error(`write: ${done}`);
  };
  const until = async (name, wanted) => {
    for (let i = 0; i < 20000; i++) if ((await read(name))[0].value.value === wanted) return;
    throw new Error(`${name} never became ${wanted}`);
  };
  const report = { inspected: 0, mismatched: 0, cycles: 0, stale: 0 };

  const idle = await read("Result.Score", "Result.Seq", "Result.DecidedAt", "Status.Ready");
  report.idle = idle.map((shown) => [shown.statusCode.name, shown.value.value]);

  let last = 0;
  for (let part = 400; part < 400 + Number(cycles); part++) {
    const answer = await session.call({
      objectId: `ns=${index};s=flange`, methodId: id("Inspect"),
      inputArguments: [word(part), long(part), long(0)],
    });
    if (answer.statusCode !== StatusCodes.Good) throw new Error(`Inspect: ${answer.statusCode}`);
    const [seq, trigger, echoed, evaluation, error] = answer.outputArguments.map((a) => a.value);
    const good = trigger === part && echoed === part && error === 0
      && evaluation === (part % 1000 < 500 ? 1 : 2) && (last === 0 || seq === last + 1);
    report.mismatched += good ? 0 : 1;
    report.inspected += 1;
    last = seq;
  }
  const wrong = await session.call({
    objectId: `ns=${index};s=flange`, methodId: id("Inspect"), inputArguments: [word(1)],
  });
  report.wrong = wrong.statusCode.name;

  const subscription = await session.createSubscription2({
    requestedPublishingInterval: 20, requestedLifetimeCount: 1000, requestedMaxKeepAliveCount: 100,
    maxNotificationsPerPublish: 0, publishingEnabled: true, priority: 1,
  });
  const heard = [];
  const item = ClientMonitoredItem.create(
    subscription, { nodeId: id("Result.PartId"), attributeId: AttributeIds.Value },
    { samplingInterval: 0, queueSize: 1000, discardOldest: false }, TimestampsToReturn.Both);
  item.on("changed", (shown) => heard.push([shown.statusCode.name, shown.value.value]));
  await new Promise((resolve) => item.once("initialized", resolve));

  await write({ Enable: bool(true), Trigger: bool(false), Acknowledge: bool(false) });
  for (let part = 400; part < 400 + Number(cycles); part++) {
    await until("Status.Ready", true);
    await write({ TriggerId: word(part), PartId: long(part), Trigger: bool(true) });
    await until("Status.Valid", true);
    const shown = await read("Result.TriggerId", "Result.PartId", "Result.Pass", "Result.Reject");
    const [trigger, echoed, pass, reject] = shown.map((value) => value.value.value);
    const right = trigger === part && echoed === part && pass === (part % 1000 < 500)
      && reject === !pass && shown.every((value) => value.statusCode === StatusCodes.Good);
    report.mismatched += right ? 0 : 1;
    await write({ Trigger: bool(false), Acknowledge: bool(true) });
    const after = await read("Status.Valid", "Result.PartId", "Result.Pass");
    const gone = !after[0].value.value && after[1].value.value === 0 && !after[2].value.value
      && after[1].statusCode !== StatusCodes.Good;
    report.stale += gone ? 0 : 1;
    await write({ Acknowledge: bool(false) });
    report.cycles += 1;
  }
  await new Promise((resolve) => setTimeout(resolve, 300));
  report.heard_last = heard[heard.length - 1];
  await subscription.terminate();
  await session.close();
  await client.disconnect();
  console.log(JSON.stringify(report));
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
