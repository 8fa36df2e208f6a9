/* SPDX-License-Identifier: Apache-2.0
 *
 * What Rust cannot bind by itself: DPDK's inline functions, fields whose place or name differs between
 * DPDK versions, and structures that are simpler as a few numbers. Everything else is bound directly.
 */
#ifndef PODSWITCH_DPDK_SHIM_H
#define PODSWITCH_DPDK_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

/* Where the fields of an mbuf lie in the DPDK that this is built against. Offsets, because the fields sit
 * in anonymous unions that were moved about between 22.11 and 24.11. */
static const size_t SHIM_MBUF_SIZE = sizeof(struct rte_mbuf);
static const size_t SHIM_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr);
static const size_t SHIM_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off);
static const size_t SHIM_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt);
static const size_t SHIM_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs);
static const size_t SHIM_MBUF_PORT = offsetof(struct rte_mbuf, port);
static const size_t SHIM_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags);
static const size_t SHIM_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len);
static const size_t SHIM_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len);
static const size_t SHIM_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len);
static const size_t SHIM_MBUF_NEXT = offsetof(struct rte_mbuf, next);

/* Limits that this DPDK was built with. */
static const uint32_t SHIM_MAX_ETHPORTS = RTE_MAX_ETHPORTS;
static const uint32_t SHIM_MAX_LCORE = RTE_MAX_LCORE;
static const uint32_t SHIM_PKTMBUF_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const uint32_t SHIM_ETHER_HDR_LEN = RTE_ETHER_HDR_LEN;
static const uint32_t SHIM_CACHE_LINE_SIZE = RTE_CACHE_LINE_SIZE;
static const uint32_t SHIM_MEMPOOL_CACHE_MAX_SIZE = RTE_MEMPOOL_CACHE_MAX_SIZE;
static const int32_t SHIM_SOCKET_ID_ANY = SOCKET_ID_ANY;
static const uint32_t SHIM_LOG_ERR = RTE_LOG_ERR;
static const uint32_t SHIM_LOG_WARNING = RTE_LOG_WARNING;
static const uint32_t SHIM_LOG_NOTICE = RTE_LOG_NOTICE;
static const uint32_t SHIM_LOG_INFO = RTE_LOG_INFO;
static const uint32_t SHIM_LOG_DEBUG = RTE_LOG_DEBUG;

/* A port's abilities, as far as the switch asks for them. */
struct shim_dev_info {
	const char *driver_name;   /* static text of the driver */
	struct rte_device *device; /* for shim_dev_remove */
	uint32_t min_rx_bufsize;
	uint32_t max_rx_pktlen;
	uint16_t min_mtu;
	uint16_t max_mtu;
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t rx_desc_max;
	uint16_t rx_desc_min;
	uint16_t tx_desc_max;
	uint16_t tx_desc_min;
	uint8_t rx_scatter;    /* a frame may be received into several mbufs */
	uint8_t tx_multi_segs; /* a frame may be sent from several mbufs */
	uint8_t rss;           /* spreads received IP frames over its queues */
};

struct shim_port_config {
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint16_t mtu; /* 0 leaves the device's own */
	uint8_t rx_scatter;
	uint8_t tx_multi_segs;
	uint8_t rss;
};

struct shim_link {
	uint32_t speed_mbps; /* UINT32_MAX when unknown */
	uint8_t up;
	uint8_t full_duplex;
};

/* Receives every piece of text that DPDK logs; runs on the thread that logs. */
typedef void (*shim_log_sink)(const char *text, size_t len);

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n);
void shim_mbuf_free(struct rte_mbuf *mbuf);
int shim_mbuf_check(const struct rte_mbuf *mbuf, int is_header, const char **reason);

int shim_errno(void);
uint32_t shim_lcore_id(void);
int shim_log_open(shim_log_sink sink);

int shim_dev_info(uint16_t port, struct shim_dev_info *out);
int shim_dev_remove(struct rte_device *device);
int shim_dev_numa_node(const struct rte_device *device);
int shim_ports_of(const char *devargs, uint16_t *out, int room);
int shim_port_configure(uint16_t port, const struct shim_port_config *config);
int shim_port_link(uint16_t port, struct shim_link *out);
int shim_port_mac(uint16_t port, uint8_t out[6]);
uint32_t shim_pool_size(const struct rte_mempool *pool);
uint32_t shim_pool_object_bytes(const struct rte_mempool *pool);
uint32_t shim_mbuf_pool_bytes_per_frame(uint16_t data_room);
uint32_t shim_mbuf_pool_fixed_bytes(void);

#endif
