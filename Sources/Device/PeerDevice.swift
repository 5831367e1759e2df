// SPDX-License-Identifier: Apache-2.0

package import Program

/// A device whose values can go to another one without passing through the host.
///
/// `send` and `receive` (or `merge`) of one place come by turns, `send` first; a ring between the
/// two threads says when. None waits for a copy: what each device does later comes behind it.
package protocol PeerDevice: Device {
  /// Places where another device may leave values of this one's program, all of one group at a
  /// time. After `load`.
  func makeHandoff(of groups: [[ValueID]], places: Int) throws(DeviceError) -> any Handoff

  /// Where another device may leave groups of values of this one's program: at place i those of
  /// group i, one group at a time and, if it can be, where this device reads them. `receive` then
  /// copies nothing. So whoever sends does it again only behind something that it has taken from
  /// this device and that was sent when the values had been read. After `load`.
  func makeHandoff(inPlaceOf groups: [[ValueID]]) throws(DeviceError) -> any Handoff

  /// Makes ready to send to another device's places, on the sender's thread; once, before all else.
  func open(_ handoff: any Handoff) throws(DeviceError) -> HandoffPath

  /// Copies `.floats` values of the step to an opened place.
  func send(_ values: [ValueID], to handoff: any Handoff, place: Int) throws(DeviceError)

  /// Puts what was sent to a place of this device into values of the step, in the same order.
  func receive(_ values: [ValueID], from handoff: any Handoff, place: Int) throws(DeviceError)

  /// Puts in the place of an attention's output its merge with what other slices of the keys gave,
  /// `mergeByLogSumExp` bit for bit: this device's slice first, then those of `parts` in order.
  ///
  /// - Parameter parts: to a place of each, an output and its log-sum-exp were sent.
  func merge(
    _ output: ValueID, _ logSumExp: ValueID, with parts: [any Handoff], place: Int
  ) throws(DeviceError)
}

/// Places of one device for what another sends; both hold it for as long as they live.
package protocol Handoff: AnyObject, Sendable {}

/// How values get from one device to another.
package enum HandoffPath: Hashable, Sendable {
  /// From memory to memory; with the words for it: "from cuda:0 to cuda:1".
  case direct(String)
  /// By `read` and `write`, and why.
  case host(String)
}
