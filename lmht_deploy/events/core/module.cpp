// Python bindings of the events room: the door, the counting of events, the pixels of the emulated
// sensor. Events come as uint8 [n, 13] (arrays.EVENT) or int64 [n, 4] (t, x, y, p); arrays are
// checked here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>

#include <cmath>
#include <stdexcept>

#include "bins.hpp"
#include "decoder_bindings.hpp"
#include "door.hpp"
#include "film.hpp"
#include "pixels.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace lmht::events;

namespace {

template <class T, int N>
using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using Pair = std::pair<int64_t, int64_t>;
using Packed = Array<const uint8_t, 2>;
using Table = Array<const int64_t, 2>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

const Event* rows(const Packed& events) {
    require(events.shape(1) == sizeof(Event), "packed events have 13 bytes");
    return reinterpret_cast<const Event*>(events.data());
}

const Wide* rows(const Table& events) {
    require(events.shape(1) == 4, "events have four columns: t, x, y, p");
    return reinterpret_cast<const Wide*>(events.data());
}

template <class Events>
size_t check(const Events& events, Pair sensor, int64_t latest) {
    const auto* given = rows(events);
    nb::gil_scoped_release released;
    return first_fault(given, events.shape(0), {sensor.first, sensor.second}, latest);
}

template <class Events>
std::pair<size_t, std::array<int64_t, 3>> sifted(const Events& events, Pair sensor, int64_t latest,
                                                 Array<uint8_t, 2> admitted) {
    const auto* given = rows(events);
    require(admitted.shape(0) >= events.shape(0) && admitted.shape(1) == sizeof(Event),
            "there is no room for the events");
    nb::gil_scoped_release released;
    const Sifted found = sift(given, events.shape(0), {sensor.first, sensor.second}, latest,
                              reinterpret_cast<Event*>(admitted.data()));
    return {found.admitted, found.dropped};
}

size_t first_at_time(const Packed& events, int64_t time) {
    return first_at(rows(events), events.shape(0), time);
}

void count(const Packed& events, size_t first, size_t last, Pair sensor, Array<int64_t, 3> cells) {
    const Event* given = rows(events);
    const Size from{sensor.first, sensor.second},
        to{int64_t(cells.shape(1)), int64_t(cells.shape(2))};
    require(first <= last && last <= events.shape(0), "the events to count are not there");
    require(cells.shape(0) == 2 && to.height <= from.height && to.width <= from.width,
            "the cells do not fit the sensor");
    require(std::max(from.height, from.width) < int64_t(1) << 31, "the sensor is too large");
    nb::gil_scoped_release released;
    add(given + first, last - first, from, to, cells.data());
}

void moved(Array<const float, 2> scene, Array<const float, 2> rows, Array<const float, 2> columns,
           Array<float, 3> film) {
    const size_t steps = film.shape(0), height = film.shape(1), width = film.shape(2);
    require(rows.shape(0) == steps && rows.shape(1) == height && columns.shape(0) == steps &&
                columns.shape(1) == width,
            "places do not fit the film");
    for (const auto& [places, axis] : {std::pair{rows, 0}, {columns, 1}})
        for (size_t index = 0; index < places.size(); ++index)
            require(
                places.data()[index] >= 0 && places.data()[index] < float(scene.shape(axis)) - 1,
                "a place lies beside the scene");
    nb::gil_scoped_release released;
    move(scene.data(), scene.shape(1), rows.data(), columns.data(), steps, height, width,
         film.data());
}

nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>> emulated(Array<const float, 3> levels,
                                                      Array<const int64_t, 1> order,
                                                      Array<const int64_t, 1> times,
                                                      Array<const float, 2> off,
                                                      Array<const float, 2> on, double refractory,
                                                      double leak, double readout, Packed noise) {
    require(order.size() >= 1 && times.size() == order.size() && times.data()[0] == 0,
            "a film has frames, each at a time, from 0 on");
    for (size_t step = 1; step < times.size(); ++step) {
        const int64_t interval = times.data()[step] - times.data()[step - 1];
        require(interval >= 1 && interval < int64_t(1) << 24, "frames are 1 to 2^24 us apart");
    }
    require(refractory >= 0 && leak >= 0 && readout >= 0,
            "the refractory time, the leak and the time of the readout must not be negative");
    for (const auto& thresholds : {off, on}) {
        require(thresholds.shape(0) == levels.shape(1) && thresholds.shape(1) == levels.shape(2),
                "there is a threshold for each pixel");
        for (size_t pixel = 0; pixel < thresholds.size(); ++pixel)
            require(thresholds.data()[pixel] >= 1e-3f, "thresholds must be at least 0.001");
    }
    for (size_t index = 0; index < levels.size(); ++index)
        require(std::abs(levels.data()[index]) <= 1000,
                "levels must be finite, within -1000..1000");
    require(levels.shape(1) <= 65536 && levels.shape(2) <= 65536 &&
                levels.shape(1) * levels.shape(2) < size_t(1) << 31,
            "the sensor is too large");
    for (size_t step = 0; step < order.size(); ++step)
        require(order.data()[step] >= 0 && order.data()[step] < int64_t(levels.shape(0)),
                "the order names a frame that is not there");
    const Event* given = rows(noise);
    require(first_fault(given, noise.shape(0), {int64_t(levels.shape(1)), int64_t(levels.shape(2))},
                        0) == noise.shape(0),
            "noise does not fit the sensor");
    auto* events = new std::vector<Event>;
    const nb::capsule owner(
        events, [](void* kept) noexcept { delete static_cast<std::vector<Event>*>(kept); });
    {
        nb::gil_scoped_release released;
        *events = emulate({levels.data(), order.data(), times.data(), int64_t(order.size())},
                          {{int64_t(levels.shape(1)), int64_t(levels.shape(2))},
                           off.data(),
                           on.data(),
                           refractory,
                           leak,
                           readout},
                          given, int64_t(noise.shape(0)));
    }
    return {events->data(), {events->size(), sizeof(Event)}, owner};
}

}  // namespace

NB_MODULE(_core, m) {
    m.doc() = "Core of the events room.";
    bind_decoders(m);
    m.def("check", &check<Packed>, nb::arg("events").noconvert(), "sensor"_a, "latest"_a,
          "Index of the first event with a fault, or their number.");
    m.def("check", &check<Table>, nb::arg("events").noconvert(), "sensor"_a, "latest"_a);
    m.def("sift", &sifted<Packed>, nb::arg("events").noconvert(), "sensor"_a, "latest"_a,
          nb::arg("admitted").noconvert(),
          "Writes the events without a fault; gives their number, and how many were dropped by "
          "range, polarity and order.");
    m.def("sift", &sifted<Table>, nb::arg("events").noconvert(), "sensor"_a, "latest"_a,
          nb::arg("admitted").noconvert());
    m.def("first_at", &first_at_time, nb::arg("events").noconvert(), "time"_a,
          "Index of the first event that is not earlier than a time.");
    m.def("count", &count, nb::arg("events").noconvert(), "first"_a, "last"_a, "sensor"_a,
          nb::arg("cells").noconvert(), "Adds events to cells [2, H, W].");
    m.def("move", &moved, nb::arg("scene").noconvert(), nb::arg("rows").noconvert(),
          nb::arg("columns").noconvert(), nb::arg("film").noconvert(),
          "Writes what is seen of a scene [h, w] at rows [S, H] and columns [S, W] of its pixels "
          "to a film [S, H, W].");
    m.def("emulate", &emulated, nb::arg("levels").noconvert(), nb::arg("order").noconvert(),
          nb::arg("times").noconvert(), nb::arg("off").noconvert(), nb::arg("on").noconvert(),
          "refractory"_a, "leak"_a, "readout"_a, nb::arg("noise").noconvert(),
          "What the pixels send, as uint8 [n, 13] in order of time.");
}
