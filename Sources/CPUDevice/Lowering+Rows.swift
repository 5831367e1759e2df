// SPDX-License-Identifier: Apache-2.0

internal import CKernels
internal import Device
internal import Program

/// Operations whose rows know nothing of each other, and attention.
extension Lowering {
  mutating func embed(_ op: Embed) throws(DeviceError) {
    let table = try packer.stored(op.table)
    try append(
      ck_run_embed,
      ck_embed(table: table, output: values.floats(op.output), width: Int64(op.table.columns)))
  }

  mutating func rmsNorm(_ op: RMSNorm, at index: Int) throws(DeviceError) {
    let arguments = try norm(op)
    phases.append(try phase(kernels.norm, arguments))
    try fuse(arguments, op, at: index)
  }

  mutating func norm(_ op: RMSNorm) throws(DeviceError) -> ck_norm {
    var arguments = ck_norm()
    arguments.rows = rows(of: op.output)
    arguments.input = values.columns(op.input)
    arguments.weight = try packer.floats(op.weight)
    arguments.epsilon = op.epsilon
    arguments.output = values.floats(op.output)
    return arguments
  }

  mutating func headwiseLinear(_ op: HeadwiseLinear) throws(DeviceError) {
    let matrices = try packer.headMatrices(op)
    let outputWidth = program[op.output].width / op.input.count
    var products: [ck_gemm] = []
    for (head, matrix) in matrices.enumerated() {
      var input = op.input
      let output = Columns(op.output, offset: head * outputWidth, width: 0)
      input.offset += head * input.stride
      products.append(
        try product(
          matrix, from: values.columns(input), to: values.columns(output),
          rows: rows(of: op.output)))
    }
    try append(kernels.gemms, gemms(products))
  }

  mutating func rope(_ op: Rope) throws(DeviceError) {
    let angles = try angles(op.table)
    try append(
      kernels.rope,
      ck_rope(
        columns: values.columns(op.columns), angles: angles,
        interleaved: op.layout == .interleaved ? 1 : 0))
  }

  mutating func attention(_ op: Attention) throws(DeviceError) {
    let cache = try cache(
      op.cache, heads: op.keys.count, keyWidth: op.keys.width, valueWidth: op.values.width)
    try append(
      ck_run_store,
      ck_store(
        keys: (values.columns(op.keys), ck_columns()), values: values.columns(op.values),
        cache: cache))
    try attend(
      ck_attention(
        parts: (values.columns(op.queries), ck_columns()), heads: Int64(op.queries.count),
        value_width: Int64(op.values.width), cache: cache, scale: op.scale,
        output: values.floats(op.output), log_sum_exp: op.logSumExp.map { values.floats($0) },
        partials: attentionPartials()))
  }

  mutating func latentAttention(_ op: LatentAttention) throws(DeviceError) {
    let width = op.latent.width + op.ropeKey.width
    let cache = try cache(op.cache, heads: 1, keyWidth: width, valueWidth: 0)
    try append(
      ck_run_store,
      ck_store(
        keys: (values.columns(op.latent), values.columns(op.ropeKey)), values: ck_columns(),
        cache: cache))
    try attend(
      ck_attention(
        parts: (values.columns(op.latentQueries), values.columns(op.ropeQueries)),
        heads: Int64(op.latentQueries.count), value_width: Int64(op.latent.width), cache: cache,
        scale: op.scale, output: values.floats(op.output),
        log_sum_exp: op.logSumExp.map { values.floats($0) }, partials: attentionPartials()))
  }

  private mutating func attend(_ arguments: ck_attention) throws(DeviceError) {
    var arguments = arguments
    reserveScratch(Int(ck_attention_scratch(&arguments)))
    try append(kernels.attention, arguments)
  }

  mutating func swiglu(_ op: SwiGLU) throws(DeviceError) {
    try append(kernels.swiglu, binary(op.gate, op.up, op.output))
  }

  mutating func add(_ op: Add) throws(DeviceError) {
    try append(kernels.add, binary(op.left, op.right, op.output))
  }

  func binary(_ left: ValueID, _ right: ValueID, _ output: ValueID) -> ck_binary {
    ck_binary(
      rows: rows(of: output), repeat: 1, width: Int64(program[output].width),
      left: values.floats(left), right: values.floats(right), output: values.floats(output))
  }

  mutating func join(_ op: Join) throws(DeviceError) {
    try append(
      ck_run_join,
      ck_join(
        rows: rows(of: op.output), left: values.floats(op.left), right: values.floats(op.right),
        output: values.floats(op.output), left_width: Int64(program[op.left].width),
        right_width: Int64(program[op.right].width)))
  }

  mutating func selectOutputs(_ op: SelectOutputs) throws(DeviceError) {
    try append(
      ck_run_select,
      ck_select(
        input: values.floats(op.input), output: values.floats(op.output),
        width: Int64(program[op.output].width)))
  }
}
